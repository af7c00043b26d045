// The squares that a slide is divided into. Level n is shrunk 2^n times; a tile has 512 pixels on the screen.
// The same numbers as in census.py and tiles.py.

export const TILE_PX = 512;
const BAND = 3;
export const FINEST_LEVEL = -3; // Outlines are drawn anew up to eight screen pixels a base pixel, then enlarged.

export const tileSide = (level) => TILE_PX * 2 ** level;

// The level of the squares that hold the outlines to draw at a level.
export function dataLevel(level, outlineLevel) {
  return Math.min(BAND * Math.floor(Math.max(level, 0) / BAND) + BAND - 1, outlineLevel);
}

// The level whose tiles are closest to a scale, in screen pixels a base pixel.
export function levelFor(scale, coarsest) {
  return Math.min(Math.max(Math.round(-Math.log2(scale)), FINEST_LEVEL), coarsest);
}

export function coarsestLevel(width, height) {
  return Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / TILE_PX)));
}
