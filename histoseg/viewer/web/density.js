// The scale of a slide's densities, which is the same for all its tiles.

const SHARE = 0.98; // Of the occupied cells have less than the strongest colour: a single dense spot does not dim the rest.

// By structure, the visible objects a base pixel that get the strongest colour.
export function findDensest(census, hidden) {
  const found = {};
  for (const [name, { kinds, cells, cell_px: cell }] of Object.entries(census.densities)) {
    const rows = cells.filter((_, i) => !hidden.includes(kinds[i]));
    const sums = (rows[0] ?? []).map((_, i) => rows.reduce((sum, row) => sum + row[i], 0)).sort((one, other) => one - other);
    const densest = sums[Math.floor(SHARE * (sums.length - 1))] || sums.at(-1) || 1;
    found[name] = densest / cell ** 2;
  }
  return found;
}
