// The scale bar, and the view as a PNG file.

import { byId, element } from "./dom.js";

const LONGEST_PX = 150;

// The longest bar of 1, 2 or 5 times a power of ten microns: its length in screen pixels and its text.
export function scaleBar(umPerPixel) {
  const most = LONGEST_PX * umPerPixel;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].find((times) => times * power <= most) * power;
  return { px: length / umPerPixel, text: length >= 1000 ? `${length / 1000} mm` : `${length} µm` };
}

export function showScale(umPerPixel) {
  const { px, text } = scaleBar(umPerPixel);
  const bar = byId("scale").firstElementChild;
  bar.style.width = `${px}px`;
  bar.textContent = text;
}

// Slide, layers, scale bar and a line of text as one canvas.
export function compose(slideCanvas, overlayCanvas, { umPerPixel, caption }) {
  const ratio = slideCanvas.width / byId("stage").clientWidth;
  const canvas = element("canvas", { width: slideCanvas.width, height: slideCanvas.height });
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(byId("stage")).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(slideCanvas, 0, 0);
  context.drawImage(overlayCanvas, 0, 0);
  context.scale(ratio, ratio);
  drawScale(context, canvas.height / ratio, umPerPixel);
  drawCaption(context, canvas.width / ratio, canvas.height / ratio, caption);
  return canvas;
}

function drawScale(context, height, umPerPixel) {
  const { px, text } = scaleBar(umPerPixel);
  context.fillStyle = "rgba(255, 255, 255, 0.9)";
  context.fillRect(12, height - 48, px + 16, 36);
  context.fillStyle = "#22252a";
  context.fillRect(20, height - 22, px, 3);
  context.font = "13px sans-serif";
  context.textAlign = "center";
  context.fillText(text, 20 + px / 2, height - 29);
}

function drawCaption(context, width, height, caption) {
  context.font = "12px sans-serif";
  context.textAlign = "right";
  const long = context.measureText(caption).width;
  context.fillStyle = "rgba(255, 255, 255, 0.9)";
  context.fillRect(width - long - 28, height - 34, long + 16, 22);
  context.fillStyle = "#22252a";
  context.fillText(caption, width - 20, height - 19);
}

export function savePng(canvas, name) {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => {
      const address = URL.createObjectURL(blob);
      element("a", { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
      resolve();
    }, "image/png");
  });
}
