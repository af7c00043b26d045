// The list of slides on the left, with thumbnails and counts; hundreds of them can be filtered and sorted.

import { byId, element, round, say } from "./dom.js";
import { slidePath } from "./requests.js";

export class CohortList {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.slides = [];
    this.chosen = null;
    byId("filter").addEventListener("input", () => this.draw());
    byId("filter").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.listed().length) this.onChoose(this.listed()[0].folder);
    });
    byId("sort").addEventListener("change", () => this.draw());
  }

  show({ slides, unfinished }) {
    this.slides = slides;
    const names = [...new Set(slides.flatMap((slide) => Object.keys(slide.counts ?? {})))];
    const choices = [["name", "name"], ...names.map((name) => [`count:${name}`, `most ${name}`]), ["area", "largest tissue"]];
    byId("sort").replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
    byId("unfinished").hidden = !unfinished.length;
    byId("unfinished").textContent = `${unfinished.length} not finished: ${unfinished.slice(0, 3).join(", ")}${unfinished.length > 3 ? ", …" : ""}`;
    this.draw();
  }

  listed() {
    const text = byId("filter").value.trim().toLowerCase();
    const found = this.slides.filter((slide) => slide.folder.toLowerCase().includes(text));
    const [kind, name] = byId("sort").value.split(/:(.*)/s);
    const value = { count: (slide) => slide.counts?.[name] ?? -1, area: (slide) => slide.area_mm2 ?? -1 }[kind];
    const byName = (one, other) => one.folder.localeCompare(other.folder, undefined, { numeric: true });
    return found.sort((one, other) => (value ? value(other) - value(one) : 0) || byName(one, other));
  }

  draw() {
    const listed = this.listed();
    const all = this.slides.length;
    byId("cohort-count").textContent = listed.length === all ? say(all) : `${say(listed.length)} of ${say(all)}`;
    byId("slides").replaceChildren(...listed.map((slide) => element("li", {}, this.row(slide))));
  }

  row(slide) {
    const source = `${slidePath(slide.folder, slide.version)}/thumbnail`;
    const picture = slide.problem
      ? element("span", { className: "picture" })
      : element("img", { className: "picture", src: source, alt: "", loading: "lazy", onerror: (event) => event.target.replaceWith(element("span", { className: "picture" })) });
    const counts = Object.entries(slide.counts ?? {}).filter(([, count]) => count);
    const lines = slide.problem
      ? [element("span", { className: "quiet bad", title: slide.problem }, "cannot be read")]
      : counts.map(([name, count]) => element("span", { className: "quiet" }, `${say(count)} ${name}`));
    if (slide.area_mm2 && counts.length < 3) lines.push(element("span", { className: "quiet" }, `${round(slide.area_mm2)} mm²`));
    const name = element("strong", {}, slide.folder);
    const made = element("button", { type: "button", onclick: () => this.onChoose(slide.folder) }, picture, element("span", {}, name, ...lines));
    made.setAttribute("aria-current", slide.folder === this.chosen);
    made.dataset.folder = slide.folder;
    return made;
  }

  choose(folder) {
    this.chosen = folder;
    for (const row of byId("slides").querySelectorAll("button")) {
      const isChosen = row.dataset.folder === folder;
      row.setAttribute("aria-current", isChosen);
      if (isChosen) row.scrollIntoView({ block: "nearest" });
    }
  }

  // The slide so many places further in the list.
  step(places) {
    const listed = this.listed();
    const at = listed.findIndex((slide) => slide.folder === this.chosen);
    const next = listed[Math.min(Math.max(at + places, 0), listed.length - 1)];
    if (next && next.folder !== this.chosen) this.onChoose(next.folder);
  }
}
