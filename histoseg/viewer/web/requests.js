// Requests to the server that the page came from; what fails is an Error with the server's own line.

async function answer(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The viewer does not answer; is `histoseg view` still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error ?? `${path}: the server answered ${response.status}`);
}

export const fetchJson = async (path, signal) => (await answer(path, signal)).json();
export const fetchBytes = async (path, signal) => (await answer(path, signal)).arrayBuffer();

export function slidePath(folder, version) {
  return `/api/slides/${encodeURIComponent(folder)}/${encodeURIComponent(version)}`;
}
