// The slide itself: OpenSeadragon with tiles from the server, or with none where the file has moved.

import { coarsestLevel, TILE_PX } from "./grid.js";

/* global OpenSeadragon */
const { OpenSeadragon } = globalThis;

export class SlideView {
  constructor(element, overlayCanvas) {
    this.element = element;
    this.overlayCanvas = overlayCanvas;
    this.size = null;
    this.listeners = { view: () => {}, settled: () => {}, click: () => {}, problem: () => {} };
    this.osd = new OpenSeadragon.Viewer({
      element,
      drawer: "canvas", // It draws alike with and without a graphics card, and the picture can be exported.
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "TOP_LEFT",
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      navigatorBorderColor: "#8b8578",
      navigatorDisplayRegionColor: "#b3261e",
      animationTime: 0.35,
      springStiffness: 9,
      maxZoomPixelRatio: 12,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.4,
      imageLoaderLimit: 6,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
      preserveImageSizeOnResize: true,
      tabIndex: 0,
    });
    this.osd.canvas.append(overlayCanvas); // Above the slide, below the navigator
    this.osd.innerTracker.keyDownHandler = null; // keys.js has them all.
    this.osd.innerTracker.keyHandler = null;
    this.osd.addHandler("update-viewport", () => this.tell());
    this.osd.addHandler("animation-finish", () => this.listeners.settled());
    this.osd.addHandler("open", () => this.listeners.settled());
    this.osd.addHandler("resize", () => setTimeout(() => this.listeners.settled(), 100));
    this.osd.addHandler("tile-load-failed", () => this.listeners.problem());
    this.osd.addHandler("canvas-click", (event) => {
      if (!event.quick || !this.size) return;
      const [x, y] = this.toBase(event.position);
      this.listeners.click(x, y);
    });
  }

  // `picture` is the path of its tiles, or null; `start` the view, or null for all of it.
  open(size, picture, start) {
    this.size = size;
    const [width, height] = size;
    const levels = coarsestLevel(width, height);
    const maxLevel = Math.ceil(Math.log2(Math.max(width, height)));
    const source = {
      width,
      height,
      tileSize: TILE_PX,
      minLevel: maxLevel - levels,
      maxLevel,
      getTileUrl: (level, x, y) => `${picture}/${maxLevel - level}/${x}/${y}`,
    };
    if (!picture) source.tileExists = () => false;
    return new Promise((resolve) => {
      this.osd.addOnceHandler("open", () => {
        if (start) this.goTo(start.x, start.y, start.shrink, true);
        else this.osd.viewport.goHome(true);
        resolve();
      });
      this.osd.open(source);
    });
  }

  close() {
    this.size = null;
    this.osd.close();
  }

  // Canvas pixels a base pixel, and the base pixel in the upper left corner.
  view() {
    const bounds = this.osd.viewport.getBoundsNoRotate(true);
    const { canvas } = this.osd.drawer;
    const [width] = this.size;
    return { scale: canvas.width / (bounds.width * width), left: bounds.x * width, top: bounds.y * width };
  }

  // Left, top, right, bottom in base pixels, where a movement ends.
  box() {
    const bounds = this.osd.viewport.getBoundsNoRotate(false);
    const [width] = this.size;
    return [bounds.x, bounds.y, bounds.x + bounds.width, bounds.y + bounds.height].map((value) => value * width);
  }

  // Base pixels a screen pixel.
  shrink() {
    const [left, , right] = this.box();
    return (right - left) / this.element.clientWidth;
  }

  // The same while a movement goes on.
  shrinkNow() {
    return (this.osd.viewport.getBoundsNoRotate(true).width * this.size[0]) / this.element.clientWidth;
  }

  goTo(x, y, shrink, immediately = false) {
    const [width] = this.size;
    const half = { x: (this.element.clientWidth * shrink) / 2, y: (this.element.clientHeight * shrink) / 2 };
    const corner = [x - half.x, y - half.y, 2 * half.x, 2 * half.y].map((value) => value / width);
    this.osd.viewport.fitBounds(new OpenSeadragon.Rect(...corner), immediately);
  }

  zoomBy(factor) {
    this.osd.viewport.zoomBy(factor).applyConstraints();
  }

  panBy(x, y) {
    const delta = this.osd.viewport.deltaPointsFromPixels(new OpenSeadragon.Point(x, y));
    this.osd.viewport.panBy(delta).applyConstraints();
  }

  goHome() {
    this.osd.viewport.goHome();
  }

  toBase(point) {
    const found = this.osd.viewport.pointFromPixel(point, true);
    return [found.x * this.size[0], found.y * this.size[0]];
  }

  // Called after each frame that was drawn: the layers are put where the slide is now.
  tell() {
    if (!this.size || !this.osd.isOpen()) return;
    const { canvas } = this.osd.drawer;
    if (this.overlayCanvas.width !== canvas.width || this.overlayCanvas.height !== canvas.height) {
      this.overlayCanvas.width = canvas.width;
      this.overlayCanvas.height = canvas.height;
    }
    this.listeners.view(this.view());
  }
}
