// All keys, in one table that `?` shows.

import { byId, element } from "./dom.js";

// `actions` are the page's; the first of the keys is the one that buttons name.
export function listenToKeys(actions) {
  const table = [
    [["?"], "These keys", actions.help],
    [["+", "="], "Zoom in", () => actions.zoom(1.5)],
    [["-", "_"], "Zoom out", () => actions.zoom(1 / 1.5)],
    [["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], "Move", actions.pan],
    [["0"], "Whole slide", actions.fit],
    [["z"], "One screen pixel a slide pixel", actions.oneToOne],
    [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "First, second, … structure on or off", (key) => actions.flip(Number(key) - 1)],
    [["d"], "Density, where outlines would be too small, on or off", actions.density],
    [["t"], "Classes of tissue on or off", actions.tissue],
    [["f"], "Filled objects or outlines only", actions.fill],
    [["h"], "Hide or show all that lies on the slide", actions.overlays],
    [["j"], "Next slide", () => actions.step(1)],
    [["k"], "Previous slide", () => actions.step(-1)],
    [["/"], "Filter the slides", actions.filter],
    [["b"], "Only the slide, without lists", actions.bare],
    [["c"], "Copy a link to this view", actions.link],
    [["e"], "Save this view as PNG", actions.png],
    [["Escape"], "Close what is open", actions.escape],
  ];
  const byKey = new Map(table.flatMap(([keys, , action]) => keys.map((key) => [key, action])));
  const say = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", "-": "−" };
  const rows = table.flatMap(([keys, text]) => {
    const shown = keys.length > 4 ? [keys[0], keys.at(-1)] : keys.filter((key) => !"=_".includes(key));
    const caps = shown.flatMap((key, i) => [i ? (keys.length > 4 ? " – " : " ") : "", element("kbd", {}, say[key] ?? key)]);
    return [element("dt", {}, ...caps), element("dd", {}, text)];
  });
  byId("help").querySelector("dl").replaceChildren(...rows);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyped = event.target.matches("input[type=search], select, textarea");
    if (isTyped && event.key === "Escape") event.target.blur();
    const isMoved = event.target.matches("input[type=range]") && event.key.startsWith("Arrow");
    const action = byKey.get(event.key);
    if (!action || isTyped || isMoved || (byId("help").open && event.key !== "?")) return;
    event.preventDefault();
    action(event.key);
  });
  for (const button of document.querySelectorAll("#tools button")) {
    button.addEventListener("click", () => byKey.get(button.dataset.key)(button.dataset.key));
  }
}
