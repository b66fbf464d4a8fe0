/** A canvas measured in CSS pixels: its size and its colour are looked up when they change, not for each drawing. */

export class Sheet {
  /** `redraw` is called when what was drawn is gone: another size, another theme. */
  constructor(canvas, redraw) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.height = canvas.height;
    this.width = 0;
    const renew = () => {
      this.measure();
      redraw();
    };
    new ResizeObserver(renew).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
    document.addEventListener("themechange", renew);
  }

  measure() {
    const density = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.canvas.width = Math.round(this.width * density);
    this.canvas.height = Math.round(this.height * density);
    this.context.setTransform(density, 0, 0, density, 0, 0);
    const style = getComputedStyle(this.canvas);
    this.color = style.color;
    this.muted = style.getPropertyValue("border-top-color");
    this.text = style.getPropertyValue("caret-color");
    this.warning = style.getPropertyValue("outline-color");
    this.font = `11px ${style.fontFamily}`;
  }
}
