"use strict";
// Draws the figures that are near the window at this width; the others when they come near.
const Page = (() => {
  const touch = matchMedia("(pointer: coarse)").matches;
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  const config = { responsive: true, displaylogo: false, modeBarButtons: buttons };
  if (touch) config.displayModeBar = false;
  const figures = new Map(), clicks = [], changes = [];

  const read = (box) => {
    const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
    if (touch) figure.layout.dragmode = false;
    figure.first = figure.data.map((trace) => ({ ...trace }));
    figure.data = figure.data.map((trace) => ({ ...trace }));
    figure.stale = true;
    figure.visible = false;
    return figure;
  };
  const draw = (box) => {
    const figure = figures.get(box);
    if (!figure.visible || !figure.stale || box.offsetParent === null) return;
    figure.stale = false;
    changes.forEach((change) => change(figure));
    const drawn = box.classList.contains("drawn");
    box.classList.add("drawn");
    figure.layout.datarevision = (figure.layout.datarevision || 0) + 1;
    Plotly.react(box, figure.data, figure.layout, config);
    if (!drawn) box.on("plotly_click", (event) => clicks.forEach((click) => click(event.points[0])));
  };
  const near = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) {
        figures.get(target).visible = isIntersecting;
        draw(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const box of document.querySelectorAll(".plot")) {
    figures.set(box, read(box));
    near.observe(box);
  }
  addEventListener("resize", () => figures.forEach((_, box) => draw(box)));
  addEventListener("beforeprint", () => {
    figures.forEach((figure, box) => {
      figure.visible = true;
      draw(box);
    });
  });
  // Figures are brought up to date by `change(figure)` just before they are drawn.
  const refresh = () => {
    figures.forEach((figure, box) => {
      figure.stale = true;
      draw(box);
    });
  };
  return { refresh, onClick: (click) => clicks.push(click), onDraw: (change) => changes.push(change) };
})();
