// The numbers of the object that was clicked.

import { byId, element, round, say } from "./dom.js";
import { capital, spaced } from "./legend.js";

export function showCard(about, found, onClose) {
  const kind = about.kinds[found.kind];
  const words = about.structures[kind.structure] ?? { singular: kind.structure };
  const share = found.class_probability;
  const lines = [
    ["class", spaced(kind.class_name) || "none"],
    share === null ? null : ["class probability", share.toFixed(2)],
    ["area", `${round(found.area_um2)} µm²`],
    ["equivalent diameter", `${round(found.diameter_um)} µm`],
    ["position", `x ${say(Math.round(found.x))}, y ${say(Math.round(found.y))} px`],
    ["number", say(found.id)],
  ].filter(Boolean);
  const swatch = element("span", { className: "swatch round" });
  swatch.style.background = kind.colour;
  const close = element("button", { type: "button", ariaLabel: "Close", onclick: onClose }, "×");
  const header = element("header", {}, element("span", { className: "row" }, swatch, element("span", {}, capital(words.singular))), close);
  header.firstChild.style.color = "inherit";
  const list = element("dl", {}, ...lines.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  byId("card").replaceChildren(header, list);
  byId("card").hidden = false;
}

export const hideCard = () => (byId("card").hidden = true);
