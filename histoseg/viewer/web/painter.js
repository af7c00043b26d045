// A worker: it fetches what the layers of a slide need and draws their tiles, so that the page itself never waits.

import { drawDensity, drawOutlines, drawTissue, paintTissue } from "./draw.js";
import { dataLevel, TILE_PX } from "./grid.js";
import { readDensity, readObjects, readTissue } from "./packed.js";
import { fetchBytes } from "./requests.js";

const LARGEST_CACHE = 192 * 2 ** 20; // Bytes of outlines and densities that are kept
const FINE_PX = 12; // Objects up to this size get a line of one pixel.
const AT_ONCE = 4; // Tiles that wait for data at a time: a browser opens six connections.

let slide = null; // What `open` brought
let settings = null;
let wanted = [];
let working = 0;
let tissue = null; // { data, picture, of: settings }
const cache = new Map(); // Address -> promise of { value, bytes }, the one used last at the end
const failed = new Set();
const canvas = new OffscreenCanvas(TILE_PX, TILE_PX);

onmessage = ({ data }) => {
  if (data.type === "open") {
    slide = data;
    tissue = null;
    wanted = [];
    cache.clear();
    failed.clear();
  } else if (data.type === "settings") {
    settings = { ...data.settings, hidden: new Set(data.settings.hidden), hiddenTissue: new Set(data.settings.hiddenTissue) };
  } else if (data.type === "want") {
    wanted = data.tiles;
    work();
  }
};

function work() {
  while (working < AT_ONCE && wanted.length) {
    working++;
    paint(wanted.shift(), slide, settings).finally(() => {
      working--;
      work();
    });
  }
}

async function paint(tile, of, how) {
  const [parts, picture] = await Promise.all([Promise.all(partsOf(tile, of, how)), tissuePicture(of, how)]);
  if (of !== slide || how !== settings) return; // The page has asked for this tile again.
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, TILE_PX, TILE_PX);
  let drawn = 0;
  if (picture) drawTissue(context, tile, picture, of.tissue.square_px, how.tissueOpacity);
  for (const part of parts) if (part.data && part.density) drawDensity(context, tile, part.data, how.hidden, part.perBasePixel);
  for (const part of parts) {
    if (part.data && !part.density) drawn += drawOutlines(context, tile, part.data, part.square, styleOf(part.structure, tile, of, how));
  }
  const bitmap = canvas.transferToImageBitmap();
  postMessage({ type: "tile", key: tile.key, slide: of.number, generation: how.generation, bitmap, drawn }, [bitmap]);
}

// What a tile shows of each structure, the one with the largest objects first.
function partsOf(tile, of, how) {
  return of.structures
    .filter(({ kinds }) => how.overlays && kinds.some((kind) => !how.hidden.has(kind)))
    .map(async (structure) => {
      if (tile.level > structure.outlineLevel) {
        if (!how.density) return {};
        const address = `${of.path}/density/${structure.name}/${tile.level}/${tile.column}/${tile.row}`;
        const perBasePixel = how.densest[structure.name] ?? 1;
        return { structure, density: true, perBasePixel, data: await load(address, readDensity) };
      }
      const level = dataLevel(tile.level, structure.outlineLevel);
      const factor = 2 ** (level - tile.level);
      const square = { level, column: Math.floor(tile.column / factor), row: Math.floor(tile.row / factor) };
      const address = `${of.path}/objects/${structure.name}/${level}/${square.column}/${square.row}`;
      return { structure, square, data: await load(address, readObjects) };
    });
}

function styleOf(structure, tile, of, how) {
  const diameter = structure.diameterPx / 2 ** tile.level; // On the screen
  return {
    hidden: how.hidden,
    colours: of.colours,
    fill: how.fill,
    width: how.ratio * Math.min(Math.max(diameter / how.ratio / 10, 1.1), 2.5),
    halo: diameter > 16 * how.ratio,
    isFine: diameter <= FINE_PX,
  };
}

async function tissuePicture(of, how) {
  if (!of.tissue || !how.overlays || !how.tissue) return null;
  const data = await load(`${of.path}/tissue`, readTissue);
  if (!data) return null;
  if (tissue?.of !== how) tissue = { of: how, picture: paintTissue(data, of.tissue.colours, how.hiddenTissue) };
  return tissue.picture;
}

// The value at an address, kept; null, and a line to the page, if it cannot be had.
async function load(address, read) {
  if (!cache.has(address)) {
    const promise = fetchBytes(address).then((buffer) => ({ value: read(buffer), bytes: buffer.byteLength }));
    cache.set(address, promise);
  }
  const promise = cache.get(address);
  cache.delete(address);
  cache.set(address, promise);
  try {
    const { value, bytes } = await promise;
    promise.bytes = bytes;
    forget();
    return value;
  } catch (error) {
    cache.delete(address);
    if (!failed.has(error.message)) postMessage({ type: "problem", text: error.message });
    failed.add(error.message);
    return null;
  }
}

function forget() {
  let sum = 0;
  for (const promise of cache.values()) sum += promise.bytes ?? 0;
  for (const [address, promise] of cache) {
    if (sum <= LARGEST_CACHE) break;
    sum -= promise.bytes ?? 0;
    cache.delete(address);
  }
}
