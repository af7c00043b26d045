// What the server packs as bytes, as typed arrays; see tiles.py and densities.py.

export function readObjects(buffer) {
  const [numObjects, numRings, numPoints] = new Uint32Array(buffer, 0, 3);
  let at = 16;
  const take = (Kind, count) => {
    const values = new Kind(buffer, at, count);
    at += values.byteLength;
    return values;
  };
  return {
    numObjects,
    ids: take(Int32Array, numObjects),
    owners: take(Uint32Array, numRings),
    starts: take(Uint32Array, numRings + 1),
    points: take(Int16Array, 2 * numPoints),
    kinds: take(Uint16Array, numObjects),
  };
}

export function readDensity(buffer) {
  const [numKinds, rows, columns] = new Uint32Array(buffer, 0, 3);
  return {
    rows,
    columns,
    kinds: new Uint32Array(buffer, 16, numKinds),
    counts: new Uint32Array(buffer, 16 + 4 * numKinds, numKinds * rows * columns),
  };
}

export function readTissue(buffer) {
  const [width, height] = new Uint32Array(buffer, 0, 2);
  return { width, height, classes: new Uint8Array(buffer, 8, width * height) };
}
