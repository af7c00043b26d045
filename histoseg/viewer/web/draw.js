// One tile of the layers, drawn onto a canvas: classes of tissue, densities, outlines.

import { TILE_PX, tileSide } from "./grid.js";
import { plotRings } from "./plot.js";

const UNITS = 8192; // As in tiles.py
const CHUNK = 400; // Objects in one path: a canvas sorts all edges of a path, so many small ones are faster.
const sheet = new OffscreenCanvas(TILE_PX, TILE_PX);
const HALO = "rgba(255, 255, 255, 0.75)";

// Viridis (van der Walt & Smith 2015), eight of its colours: even steps for every eye, and far from pink and purple.
const RAMP = ["#440154", "#46337e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
export const rampColours = RAMP;
const RAMP_TABLE = makeTable();

function makeTable() {
  const stops = RAMP.map((colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) table[3 * i + c] = stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]);
  }
  return table;
}

// The classes of tissue as a picture with a pixel a square, without the classes that are hidden.
export function paintTissue(tissue, colours, hidden) {
  const canvas = new OffscreenCanvas(tissue.width, tissue.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(tissue.width, tissue.height);
  const rgba = colours.map((colour, i) =>
    colour && !hidden.has(i) ? [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)) : null,
  );
  tissue.classes.forEach((kind, i) => {
    if (rgba[kind]) image.data.set([...rgba[kind], 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

export function drawTissue(context, tile, picture, squarePx, opacity) {
  const side = tileSide(tile.level) / squarePx; // In squares, which are the picture's pixels
  context.save();
  context.imageSmoothingEnabled = false;
  context.globalAlpha = opacity;
  context.drawImage(picture, tile.column * side, tile.row * side, side, side, 0, 0, TILE_PX, TILE_PX);
  context.restore();
}

// `perBasePixel` is the number of objects a base pixel that has the strongest colour.
export function drawDensity(context, tile, density, hidden, perBasePixel) {
  const { rows, columns, kinds, counts } = density;
  const perCell = perBasePixel * (tileSide(tile.level) / (columns - 2)) ** 2;
  const picture = new OffscreenCanvas(columns, rows);
  const image = new ImageData(columns, rows);
  const visible = [...kinds.keys()].filter((k) => !hidden.has(kinds[k]));
  for (let i = 0; i < rows * columns; i++) {
    let sum = 0;
    for (const k of visible) sum += counts[k * rows * columns + i];
    if (!sum) continue;
    const strength = Math.min(1, sum / perCell);
    const at = 3 * Math.round(255 * strength);
    image.data.set([RAMP_TABLE[at], RAMP_TABLE[at + 1], RAMP_TABLE[at + 2], 255 * (0.15 + 0.5 * strength)], 4 * i);
  }
  picture.getContext("2d").putImageData(image, 0, 0);
  const cell = TILE_PX / (columns - 2);
  context.drawImage(picture, -cell, -cell, columns * cell, rows * cell);
}

// The outlines of one structure; `square` is the data tile that they are in. Returns how many rings were drawn.
export function drawOutlines(context, tile, objects, square, style) {
  const side = tileSide(square.level);
  const place = {
    perUnit: side / UNITS / 2 ** tile.level,
    dx: (square.column * side) / 2 ** tile.level - tile.column * TILE_PX,
    dy: (square.row * side) / 2 ** tile.level - tile.row * TILE_PX,
  };
  const found = ringsByKind(objects, place, style.hidden);
  if (style.isFine && !style.fill) plotAll(context, objects, found, style, place);
  else for (const [kind, rings] of found) strokeRings(context, objects, rings, style.colours[kind], style, place);
  return [...found.values()].reduce((sum, rings) => sum + rings.length, 0);
}

function plotAll(context, objects, found, style, place) {
  const image = new ImageData(TILE_PX, TILE_PX);
  const pixels = new Uint32Array(image.data.buffer);
  for (const [kind, rings] of found) plotRings(pixels, objects, rings, style.colours[kind], place);
  sheet.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(sheet, 0, 0);
}

function strokeRings(context, objects, all, colour, style, place) {
  context.lineJoin = "round";
  for (let first = 0; first < all.length; first += CHUNK) {
    const path = tracePath(objects, all.slice(first, first + CHUNK), place);
    if (style.fill) {
      context.globalAlpha = style.fill;
      context.fillStyle = colour;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    if (style.halo) {
      context.lineWidth = style.width + 2;
      context.strokeStyle = HALO;
      context.stroke(path);
    }
    context.lineWidth = style.width;
    context.strokeStyle = colour;
    context.stroke(path);
  }
}

// The rings of visible kinds that meet the tile: a data tile may hold sixteen drawn ones.
function ringsByKind(objects, place, hidden) {
  const { owners, starts, points, kinds } = objects;
  const low = -8;
  const high = TILE_PX + 8;
  const found = new Map();
  for (let ring = 0; ring < owners.length; ring++) {
    const kind = kinds[owners[ring]];
    if (hidden.has(kind)) continue;
    let left = Infinity;
    let right = -Infinity;
    let top = Infinity;
    let bottom = -Infinity;
    for (let p = 2 * starts[ring]; p < 2 * starts[ring + 1]; p += 2) {
      const x = points[p];
      const y = points[p + 1];
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
    }
    const isOutside =
      right * place.perUnit + place.dx < low ||
      left * place.perUnit + place.dx > high ||
      bottom * place.perUnit + place.dy < low ||
      top * place.perUnit + place.dy > high;
    if (isOutside) continue;
    if (!found.has(kind)) found.set(kind, []);
    found.get(kind).push(ring);
  }
  return found;
}

function tracePath({ starts, points }, rings, { perUnit, dx, dy }) {
  const path = new Path2D();
  for (const ring of rings) {
    const first = 2 * starts[ring];
    const end = 2 * starts[ring + 1];
    if (end - first < 4) continue;
    path.moveTo(points[first] * perUnit + dx, points[first + 1] * perUnit + dy);
    for (let p = first + 2; p < end; p += 2) path.lineTo(points[p] * perUnit + dx, points[p + 1] * perUnit + dy);
    path.closePath();
  }
  return path;
}
