// The part of the address behind # that restores a slide, a view and its layers.

const DIGITS = 4; // Of the scale; of places a tenth of a base pixel

export function toHash({ folder, view, settings, kinds }) {
  const parts = new URLSearchParams();
  parts.set("slide", folder);
  if (view) {
    parts.set("at", `${view.x.toFixed(1)},${view.y.toFixed(1)}`);
    parts.set("shrink", Number(view.shrink.toPrecision(DIGITS)).toString());
  }
  for (const number of settings.hidden) {
    if (kinds[number]) parts.append("hide", `${kinds[number].structure}:${kinds[number].class_name}`);
  }
  for (const number of settings.hiddenTissue) parts.append("hidetissue", number);
  parts.set("tissue", settings.tissue ? settings.tissueOpacity : "0");
  if (settings.fill) parts.set("fill", settings.fill);
  if (!settings.overlays) parts.set("overlays", "0");
  if (!settings.density) parts.set("density", "0");
  return `#${parts}`;
}

export function fromHash(hash) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const [x, y] = (parts.get("at") ?? "").split(",").map(Number);
  const shrink = Number(parts.get("shrink"));
  const isView = Number.isFinite(x) && Number.isFinite(y) && parts.has("at") && shrink > 0;
  const within = (value, high) => (Number.isFinite(value) ? Math.min(Math.max(value, 0), high) : 0);
  const tissueOpacity = within(Number(parts.get("tissue") ?? 0), 1);
  return {
    folder: parts.get("slide"),
    view: isView ? { x, y, shrink } : null,
    hidden: parts.getAll("hide"),
    settings: {
      overlays: parts.get("overlays") !== "0",
      density: parts.get("density") !== "0",
      fill: within(Number(parts.get("fill") ?? 0), 0.6),
      tissue: tissueOpacity > 0,
      tissueOpacity: tissueOpacity || 0.35,
      hiddenTissue: parts.getAll("hidetissue").map(Number).filter(Number.isInteger),
    },
  };
}
