// The panel on the right: what is shown in which colour, how many there are, and the switches.

import { rampColours } from "./draw.js";
import { byId, element, round, say } from "./dom.js";

export class Legend {
  // `onChange` is called whenever a switch has changed `settings`.
  constructor(settings, onChange) {
    this.settings = settings;
    this.onChange = onChange;
    this.numbers = [];
    byId("fill").addEventListener("input", (event) => this.change({ fill: Number(event.target.value) }));
    byId("density-on").addEventListener("change", (event) => this.change({ density: event.target.checked }));
    byId("tissue-on").addEventListener("change", (event) => this.change({ tissue: event.target.checked }));
    byId("tissue-opacity").addEventListener("input", (event) => this.change({ tissueOpacity: Number(event.target.value), tissue: true }));
    byId("ramp").style.background = `linear-gradient(to right, ${rampColours.join(", ")})`;
  }

  change(values) {
    Object.assign(this.settings, values);
    this.refresh();
    this.onChange();
  }

  show(about) {
    this.about = about;
    this.counts = null;
    byId("title").textContent = about.folder;
    const [width, height] = about.size_px;
    const area = about.mask?.area_mm2 ? ` · tissue ${round(about.mask.area_mm2)} mm²` : "";
    byId("facts").textContent = `${say(width)} × ${say(height)} px · ${round(about.mpp)} µm/px${area}`;
    byId("facts").title = `${about.address}\nmodel: ${about.model.origin} ${about.model.sha256 ?? ""}`;
    const notes = Object.entries(about.notes).map(([text, count]) => `When the slide was read: ${text} (${say(count)})`);
    const caveats = [...about.caveats, ...notes];
    byId("caveats").hidden = !caveats.length;
    byId("caveats").querySelector("ul").replaceChildren(...caveats.map((text) => element("li", {}, text)));
    byId("layers").hidden = !about.kinds.length;
    byId("objects").replaceChildren(...groups(about).map((group, i) => this.structure(group, i)));
    this.showTissue(about.tissue);
    byId("density").hidden = true;
    this.refresh();
  }

  structure({ words, kinds }, i) {
    const isAlone = kinds.length === 1 && !this.about.kinds[kinds[0]].class_name;
    const title = { textContent: capital(words.plural), title: `Key ${i + 1}` };
    const whole = this.row(kinds, "kind whole" + (isAlone ? " alone" : ""), isAlone ? this.about.kinds[kinds[0]].colour : null, title);
    const each = isAlone ? [] : kinds.map((kind) => {
      const { class_name: name, colour } = this.about.kinds[kind];
      return this.row([kind], "kind", colour, { textContent: spaced(name) || "no class" });
    });
    return element("div", { className: "kinds" }, whole, ...each);
  }

  row(kinds, className, colour, title) {
    const box = element("input", { type: "checkbox", onchange: () => this.toggle(kinds, box.checked) });
    const swatch = colour && element("span", { className: "swatch round", style: "" });
    if (swatch) swatch.style.background = colour;
    const number = element("span", { className: "number" });
    const name = element("span", title);
    const made = element("label", { className }, box, swatch, name, number);
    made.dataset.kinds = kinds.join();
    return made;
  }

  toggle(kinds, isOn) {
    const hidden = new Set(this.settings.hidden);
    for (const kind of kinds) isOn ? hidden.delete(kind) : hidden.add(kind);
    this.change({ hidden: [...hidden].sort((one, other) => one - other) });
  }

  // All on, unless all are: then off.
  flip(i) {
    const group = groups(this.about)[i];
    if (group) this.toggle(group.kinds, group.kinds.some((kind) => this.settings.hidden.includes(kind)));
  }

  showTissue(tissue) {
    byId("tissue").hidden = !tissue;
    const rows = (tissue?.classes ?? []).map((name, i) => {
      if (!tissue.colours[i]) return null;
      const box = element("input", { type: "checkbox", onchange: () => this.toggleTissue(i, box.checked) });
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = tissue.colours[i];
      const share = element("span", { className: "number" }, `${round(100 * (tissue.shares[name] ?? 0))} %`);
      const made = element("label", { className: "kind" }, box, swatch, element("span", {}, spaced(name)), share);
      made.dataset.tissue = i;
      return made;
    });
    byId("tissue-classes").replaceChildren(...rows.filter(Boolean));
  }

  toggleTissue(i, isOn) {
    const rest = this.settings.hiddenTissue.filter((other) => other !== i);
    this.change({ hiddenTissue: isOn ? rest : [...rest, i] });
  }

  // Numbers of objects by kind: in view, or null while they are being counted.
  showCounts(counts) {
    this.counts = counts;
    const sum = (kinds, of) => kinds.reduce((all, kind) => all + of(kind), 0);
    for (const row of byId("objects").querySelectorAll("[data-kinds]")) {
      const kinds = row.dataset.kinds.split(",").map(Number);
      const all = sum(kinds, (kind) => this.about.kinds[kind].count);
      const inView = counts ? say(sum(kinds, (kind) => counts[kind])) : "…";
      row.querySelector(".number").replaceChildren(element("b", {}, inView), ` / ${say(all)}`);
    }
  }

  // What the colours of the density mean; null without one in view.
  showDensity(density) {
    byId("density").hidden = !density;
    if (!density) return;
    byId("density-title").textContent = `Density of ${density.plural}`;
    byId("densest").textContent = `${say(Number(density.perMm2.toPrecision(2)))} or more per mm²`;
  }

  refresh() {
    const { settings } = this;
    document.body.classList.toggle("hidden-layers", !settings.overlays);
    byId("fill").value = settings.fill;
    byId("density-on").checked = settings.density;
    byId("tissue-on").checked = settings.tissue;
    byId("tissue-opacity").value = settings.tissueOpacity;
    for (const row of document.querySelectorAll("[data-kinds]")) {
      const kinds = row.dataset.kinds.split(",").map(Number);
      const shown = kinds.filter((kind) => !settings.hidden.includes(kind)).length;
      const box = row.querySelector("input");
      box.checked = shown > 0;
      box.indeterminate = shown > 0 && shown < kinds.length;
    }
    for (const row of document.querySelectorAll("[data-tissue]")) {
      row.querySelector("input").checked = !settings.hiddenTissue.includes(Number(row.dataset.tissue));
    }
  }
}

export const spaced = (name) => name.replaceAll("_", " ");
export const capital = (name) => name.charAt(0).toUpperCase() + name.slice(1);

// The kinds of each structure, with its words.
export function groups(about) {
  const found = new Map();
  about.kinds.forEach((kind, i) => {
    if (!found.has(kind.structure)) {
      const words = about.structures[kind.structure] ?? { singular: kind.structure, plural: kind.structure };
      found.set(kind.structure, { name: kind.structure, words, kinds: [] });
    }
    found.get(kind.structure).kinds.push(i);
  });
  return [...found.values()];
}
