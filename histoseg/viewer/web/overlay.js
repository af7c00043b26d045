// The canvas above the slide: tiles of the layers, which a worker draws, put where the slide has just been drawn.

import { coarsestLevel, levelFor, TILE_PX, tileSide } from "./grid.js";

const MOST_TILES = 160; // 1 MB each
const FALLBACK = 4; // Levels up to which a coarser tile stands in for one that is not there yet

export class Overlay {
  constructor(canvas, onProblem) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.tiles = new Map(); // Key -> { bitmap, generation, drawn }, the one used last at the end
    this.number = 0;
    this.generation = 0;
    this.view = null;
    this.selection = null;
    this.isReady = false;
    this.onDrawn = () => {};
    this.worker = new Worker(new URL("./painter.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.type === "problem") onProblem(data.text);
      else this.keep(data);
    };
  }

  close() {
    this.isReady = false;
    this.selection = null;
    this.view = null;
    for (const { bitmap } of this.tiles.values()) bitmap.close();
    this.tiles.clear();
    this.draw();
  }

  // `slide`: path, size, structures, colours, tissue; see page.js.
  open(slide) {
    this.close();
    this.size = slide.size;
    this.coarsest = coarsestLevel(...slide.size);
    this.worker.postMessage({ type: "open", number: ++this.number, ...slide });
    this.isReady = true;
  }

  set(settings) {
    this.worker.postMessage({ type: "settings", settings: { ...settings, generation: ++this.generation } });
    this.asked = "";
    if (this.view) this.show(this.view);
  }

  keep({ key, slide, generation, bitmap, drawn }) {
    const earlier = this.tiles.get(key);
    if (slide !== this.number || (earlier && earlier.generation > generation)) {
      bitmap.close();
      return;
    }
    earlier?.bitmap.close();
    this.tiles.delete(key);
    this.tiles.set(key, { bitmap, generation, drawn });
    for (const [old, tile] of this.tiles) {
      if (this.tiles.size <= MOST_TILES) break;
      tile.bitmap.close();
      this.tiles.delete(old);
    }
    if (!this.pending) {
      this.pending = requestAnimationFrame(() => {
        this.pending = 0;
        this.draw();
      });
    }
  }

  // `view`: scale in canvas pixels a base pixel, and the base pixel in the upper left corner.
  show(view) {
    this.view = view;
    this.draw();
    if (!this.isReady) return;
    const needed = this.visible(0);
    const missing = (tile) => this.tiles.get(tile.key)?.generation !== this.generation;
    const tiles = [...needed, ...this.visible(1).filter((tile) => !needed.some((other) => other.key === tile.key))];
    const wanted = tiles.filter(missing);
    const asked = `${this.number} ${this.generation} ${wanted.map((tile) => tile.key).join()}`;
    if (asked === this.asked) return;
    this.asked = asked;
    this.worker.postMessage({ type: "want", tiles: wanted });
  }

  // The tiles in view, with a margin of so many tiles, those in the middle first.
  visible(margin) {
    const { scale, left, top } = this.view;
    const level = levelFor(scale, this.coarsest);
    const side = tileSide(level);
    const [width, height] = this.size;
    const low = (from, whole) => Math.max(0, Math.floor(Math.min(from, whole) / side) - margin);
    const high = (to, whole) => Math.min(Math.ceil(whole / side) - 1, Math.floor(to / side) + margin);
    const right = left + this.canvas.width / scale;
    const bottom = top + this.canvas.height / scale;
    const found = [];
    for (let row = low(top, height); row <= high(bottom, height); row++) {
      for (let column = low(left, width); column <= high(right, width); column++) {
        const away = Math.hypot((column + 0.5) * side - (left + right) / 2, (row + 0.5) * side - (top + bottom) / 2);
        found.push({ key: `${level}/${column}/${row}`, level, column, row, away });
      }
    }
    return found.sort((one, other) => one.away - other.away);
  }

  // Whether all tiles in view are drawn as they are now wanted.
  isSettled() {
    if (!this.isReady || !this.view || this.pending) return false;
    return this.visible(0).every((tile) => this.tiles.get(tile.key)?.generation === this.generation);
  }

  draw() {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.view || !this.isReady) return;
    for (const tile of this.visible(0)) this.drawTile(tile);
    if (this.selection) this.drawSelection();
    this.onDrawn();
  }

  drawTile({ key, level, column, row }) {
    const found = this.tiles.get(key);
    const box = this.place(level, column, row);
    if (found) {
      this.tiles.delete(key);
      this.tiles.set(key, found);
      this.context.drawImage(found.bitmap, ...box);
      return;
    }
    for (let up = 1; up <= FALLBACK; up++) {
      const factor = 2 ** up;
      const above = this.tiles.get(`${level + up}/${Math.floor(column / factor)}/${Math.floor(row / factor)}`);
      if (!above) continue;
      const part = TILE_PX / factor;
      this.context.drawImage(above.bitmap, (column % factor) * part, (row % factor) * part, part, part, ...box);
      return;
    }
    for (const [x, y] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
      const below = this.tiles.get(`${level - 1}/${2 * column + x}/${2 * row + y}`);
      if (below) this.context.drawImage(below.bitmap, ...this.place(level - 1, 2 * column + x, 2 * row + y));
    }
  }

  // Whole pixels, so that neighbours meet without a seam.
  place(level, column, row) {
    const { scale, left, top } = this.view;
    const side = tileSide(level);
    const x = Math.round((column * side - left) * scale);
    const y = Math.round((row * side - top) * scale);
    const right = Math.round(((column + 1) * side - left) * scale);
    const bottom = Math.round(((row + 1) * side - top) * scale);
    return [x, y, right - x, bottom - y];
  }

  drawSelection() {
    const { scale, left, top } = this.view;
    const path = new Path2D();
    for (const ring of this.selection) {
      ring.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"]((x - left) * scale, (y - top) * scale));
      path.closePath();
    }
    this.context.lineJoin = "round";
    for (const [width, colour] of [[7, "#ffffff"], [3.5, "#111111"]]) {
      this.context.lineWidth = width;
      this.context.strokeStyle = colour;
      this.context.stroke(path);
    }
  }
}
