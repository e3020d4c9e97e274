"use strict";
// Draws the figures that are shown at this width; the others when the width changes.
(() => {
  const touch = matchMedia("(pointer: coarse)").matches;
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  const config = { responsive: true, displaylogo: false, modeBarButtons: buttons };
  if (touch) config.displayModeBar = false;
  const draw = () => {
    for (const box of document.querySelectorAll(".plot:not(.drawn)")) {
      if (box.offsetParent === null) continue;
      const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
      if (touch) figure.layout.dragmode = false;
      box.classList.add("drawn");
      Plotly.newPlot(box, figure.data, figure.layout, config);
    }
  };
  draw();
  addEventListener("resize", draw);
})();
