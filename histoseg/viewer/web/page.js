// The page: it puts list, slide, layers and legend together.

import { hideCard, showCard } from "./card.js";
import { CohortList } from "./cohort.js";
import { findDensest } from "./density.js";
import { byId, say } from "./dom.js";
import { levelFor } from "./grid.js";
import { listenToKeys } from "./keys.js";
import { groups, Legend } from "./legend.js";
import { fromHash, toHash } from "./link.js";
import { Overlay } from "./overlay.js";
import { compose, savePng, showScale } from "./picture.js";
import { fetchJson, slidePath } from "./requests.js";
import { SlideView } from "./slide.js";

const settings = { hidden: [], hiddenTissue: [], overlays: true, density: true, fill: 0, tissue: false, tissueOpacity: 0.35, densest: {} };
// OpenSeadragon adds styles of its own unless it finds such an element; the policy of this page would refuse them.
const noStyle = document.createElementNS("urn:histoseg", "style");
noStyle.setAttribute("data-openseadragon-mobile-css", "true");
document.head.append(noStyle);
const view = new SlideView(byId("slide"), byId("overlay"));
const overlay = new Overlay(byId("overlay"), (text) => notify(text));
const legend = new Legend(settings, () => applySettings());
const list = new CohortList((folder) => openSlide(folder, null));
let cohort = { slides: [], unfinished: [] };
let current = null; // { path, about, census }
let counting = null;
let ownHash = "";

function notify(text) {
  byId("notice").hidden = !text;
  byId("notice").firstElementChild.textContent = text;
}

// Open a slide, at a view of a link or in whole. What cannot be read is a message; the rest is shown.
async function openSlide(folder, start) {
  const slide = cohort.slides.find((one) => one.folder === folder);
  if (!slide) return notify(`There is no slide ${folder} here.`);
  const opening = { path: slidePath(folder, slide.version), about: null, census: null };
  current = opening;
  list.choose(folder);
  clearSlide();
  if (slide.problem) return notify(slide.problem);
  try {
    opening.about = await fetchJson(`${opening.path}/about`);
  } catch (error) {
    return current === opening && notify(error.message);
  }
  if (current !== opening) return undefined;
  const { about } = opening;
  document.title = `${folder} · histoseg`;
  if (start) settings.hidden = start.hidden.map((name) => about.kinds.findIndex((kind) => `${kind.structure}:${kind.class_name}` === name)).filter((i) => i >= 0);
  else settings.hidden = settings.hidden.filter((kind) => kind < about.kinds.length);
  legend.show(about);
  const picture = fetchJson(`${opening.path}/picture`).then(() => `${opening.path}/picture`, (error) => moved(opening, error));
  const census = fetchJson(`${opening.path}/census`).catch((error) => unreadable(opening, error));
  await view.open(about.size_px, await picture, start?.view);
  opening.census = await census;
  if (current !== opening || !opening.census) return undefined;
  openOverlay(opening);
  return countInView();
}

function clearSlide() {
  notify("");
  hideCard();
  overlay.close();
  view.close();
  for (const id of ["caveats", "layers", "tissue", "density"]) byId(id).hidden = true;
  byId("title").textContent = current.about?.folder ?? "";
  byId("facts").textContent = "";
}

function moved(opening, error) {
  if (current === opening) notify(`The slide's picture cannot be shown, only what was found in it: ${error.message}`);
  return null;
}

function unreadable(opening, error) {
  if (current === opening) notify(`Its objects cannot be shown: ${error.message}`);
  return null;
}

function openOverlay({ path, about, census }) {
  const structures = groups(about)
    .map(({ name, kinds }) => ({ name, kinds, outlineLevel: census.outline_levels[name], diameterPx: census.diameters_px[name] }))
    .sort((one, other) => other.diameterPx - one.diameterPx);
  overlay.open({ path, size: about.size_px, structures, colours: about.kinds.map((kind) => kind.colour), tissue: about.tissue });
  overlay.view = view.view();
  applySettings();
}

function applySettings() {
  if (current?.census) {
    settings.densest = findDensest(current.census, settings.hidden);
    overlay.set({ ...settings, ratio: devicePixelRatio });
    showDensity();
  }
  writeHash();
}

function showDensity() {
  const { about, census } = current;
  const level = levelFor(view.view().scale, overlay.coarsest);
  const shown = groups(about).find(
    ({ name, kinds }) => name in census.densities && level > census.outline_levels[name] && kinds.some((kind) => !settings.hidden.includes(kind)),
  );
  const perMm2 = shown && (settings.densest[shown.name] * 1e6) / about.mpp ** 2;
  legend.showDensity(shown && settings.overlays ? { plural: shown.words.plural, perMm2 } : null);
}

async function countInView() {
  if (!current?.census || !view.size) return;
  counting?.abort();
  counting = new AbortController();
  const box = view.box().map((value) => value.toFixed(2));
  try {
    const { counts } = await fetchJson(`${current.path}/counts?box=${box}`, counting.signal);
    legend.showCounts(counts);
    const sum = counts.reduce((all, count) => all + count, 0);
    byId("status").textContent = `${say(sum)} objects in view`;
    byId("status").dataset.box = box;
  } catch (error) {
    if (error.name !== "AbortError") notify(error.message);
  }
}

async function pick(x, y) {
  const opening = current;
  if (!opening?.census || !settings.overlays) return;
  try {
    const { objects } = await fetchJson(`${opening.path}/at?x=${x}&y=${y}`);
    if (current !== opening) return;
    const found = objects.find((one) => !settings.hidden.includes(one.kind));
    overlay.selection = found?.rings ?? null;
    overlay.draw();
    if (found) showCard(opening.about, found, dropSelection);
    else hideCard();
  } catch (error) {
    notify(error.message);
  }
}

function dropSelection() {
  overlay.selection = null;
  overlay.draw();
  hideCard();
}

function middle() {
  const [left, top, right, bottom] = view.box();
  return { x: (left + right) / 2, y: (top + bottom) / 2, shrink: view.shrink() };
}

function writeHash() {
  if (!current?.about || !view.size || !view.osd.isOpen()) return;
  const { folder, kinds } = current.about;
  ownHash = toHash({ folder, view: middle(), settings, kinds });
  history.replaceState(null, "", ownHash);
}

function readHash() {
  const found = fromHash(location.hash);
  Object.assign(settings, found.settings);
  if (found.folder) return openSlide(found.folder, found);
  const first = cohort.slides.find((slide) => !slide.problem) ?? cohort.slides[0];
  return first && openSlide(first.folder, null);
}

view.listeners = {
  view: (place) => {
    overlay.show(place);
    if (current?.about) showScale(current.about.mpp * view.shrinkNow());
    if (current?.census) showDensity();
  },
  settled: () => {
    writeHash();
    countInView();
  },
  click: pick,
  problem: () => notify("Some of the slide's picture cannot be read; the file may be damaged."),
};

const actions = {
  help: () => (byId("help").open ? byId("help").close() : byId("help").showModal()),
  zoom: (factor) => view.size && view.zoomBy(factor),
  pan: (key) => view.size && view.panBy({ ArrowLeft: -120, ArrowRight: 120 }[key] ?? 0, { ArrowUp: -120, ArrowDown: 120 }[key] ?? 0),
  fit: () => view.size && view.goHome(),
  oneToOne: () => view.size && view.goTo(middle().x, middle().y, 1 / devicePixelRatio),
  flip: (i) => current?.about && legend.flip(i),
  density: () => legend.change({ density: !settings.density }),
  tissue: () => legend.change({ tissue: !settings.tissue }),
  fill: () => legend.change({ fill: settings.fill ? 0 : 0.35 }),
  overlays: () => legend.change({ overlays: !settings.overlays }),
  step: (places) => list.step(places),
  filter: () => byId("filter").focus(),
  bare: () => document.body.classList.toggle("bare"),
  link: async () => {
    writeHash();
    try {
      await navigator.clipboard.writeText(location.href); // Absent unless the page is of this machine or encrypted
      flash("c", "Copied");
    } catch {
      notify("The address of this page is the link: copy it from the address bar.");
    }
  },
  png: () => {
    if (!current?.about || !view.size) return;
    const umPerPixel = current.about.mpp * view.shrinkNow();
    const caption = `${current.about.folder} · histoseg ${current.about.histoseg}`;
    savePng(compose(view.osd.drawer.canvas, byId("overlay"), { umPerPixel, caption }), `${current.about.folder}.png`);
  },
  escape: () => {
    dropSelection();
    notify("");
    document.body.classList.remove("bare");
  },
};

// Another text on a button for a moment.
function flash(key, text) {
  const button = document.querySelector(`#tools [data-key="${key}"]`);
  const before = button.dataset.text ?? button.textContent;
  button.dataset.text = before;
  button.textContent = text;
  byId("status").textContent = text;
  setTimeout(() => (button.textContent = before), 1500);
}

async function begin() {
  listenToKeys(actions);
  byId("notice").lastElementChild.addEventListener("click", () => notify(""));
  addEventListener("hashchange", () => location.hash !== ownHash && readHash());
  try {
    cohort = await fetchJson("/api/slides");
  } catch (error) {
    return notify(error.message);
  }
  list.show(cohort);
  if (cohort.slides.length) return readHash();
  byId("empty").hidden = false;
  const open = cohort.unfinished.length ? `${cohort.unfinished.length} are not finished yet.` : "";
  byId("empty").textContent = `No slide in ${cohort.address} has results yet.\n${open}`;
  return undefined;
}

// What tests and benchmarks look at.
globalThis.viewer = { view, overlay, settings, middle, isSettled: () => overlay.isSettled() && !view.osd.isAnimating?.() };
await begin();
