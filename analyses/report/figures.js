"use strict";
// Each figure is drawn when it comes near the window, so that the page opens at once.
(() => {
  const NEAR = "700px 0px";
  const template = JSON.parse(document.getElementById("template").textContent);
  const axisNames = (layout, letter) => Object.keys(layout).filter((key) => key.startsWith(letter + "axis"));

  // The colours of the page, as keys that both newPlot's layout and relayout take.
  function colours(layout) {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue("--" + name).trim();
    const changes = {
      "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font.color": colour("ink"),
      "hoverlabel.bgcolor": colour("card"), "hoverlabel.bordercolor": colour("rule"), "hoverlabel.font.color": colour("ink"),
    };
    for (const name of [...axisNames(layout, "x"), ...axisNames(layout, "y")]) {
      changes[name + ".gridcolor"] = colour("rule");
      changes[name + ".zerolinecolor"] = colour("muted");
      changes[name + ".linecolor"] = colour("rule");
    }
    (layout.updatemenus || []).forEach((_, i) => {
      changes[`updatemenus[${i}].bgcolor`] = colour("card");
      changes[`updatemenus[${i}].bordercolor`] = colour("rule");
      changes[`updatemenus[${i}].font.color`] = colour("ink");
    });
    return changes;
  }

  function assign(target, changes) {
    for (const [path, value] of Object.entries(changes)) {
      const keys = path.split(/[.[\]]+/);
      const last = keys.pop();
      keys.reduce((place, key) => (place[key] = place[key] || {}), target)[last] = value;
    }
  }

  const length = (values) => (values ? (values.shape ? Number(String(values.shape).split(",").pop()) : values.length || 0) : 0);

  const longest = (labels) => Math.max(0, ...Array.from(labels || [], (label) => String(label).length));

  // Below this width labels would lie on one another; the figure scrolls in its frame instead.
  function leastWidth(data, layout) {
    let widest = 0;
    for (const trace of data) {
      const axis = layout[(trace.xaxis || "x").replace("x", "xaxis")] || {};
      const ticks = length(axis.ticktext);
      if (trace.type === "heatmap" && trace.texttemplate) widest = Math.max(widest, ticks * 46);
      else widest = Math.max(widest, ticks * 15);
      if (trace.type === "bar" && trace.orientation === "h") widest = Math.max(widest, 6.5 * longest(trace.y) + 160);
    }
    const domains = new Set(axisNames(layout, "x").map((name) => String((layout[name].domain || [0, 1])[0])));
    return Math.max(domains.size > 1 ? domains.size * 250 : 0, widest ? widest + 90 : 0);
  }

  // On a phone a colour bar beside the figure would take a third of its width: it lies above instead.
  function flatColourBar(trace, layout, width) {
    if (axisNames(layout, "x").length > 1) return;
    const place = [layout[trace.coloraxis], trace, trace.marker].find((owner) => owner && owner.colorbar);
    if (!place) return;
    const title = typeof place.colorbar.title === "string" ? { text: place.colorbar.title } : place.colorbar.title;
    Object.assign(place.colorbar, {
      orientation: "h", x: 0, xanchor: "left", y: 1.03, yanchor: "bottom", lenmode: "pixels", len: width - 110,
      title: { ...title, side: "top" },
    });
  }

  function fitted(data, layout, width) {
    const narrow = width < 560;
    layout.font = Object.assign({ size: narrow ? 11 : 12, family: getComputedStyle(document.body).fontFamily }, layout.font);
    if (data.length > 1 && layout.showlegend !== false) {
      layout.legend = Object.assign({ orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" }, layout.legend);
    }
    if (narrow) data.forEach((trace) => flatColourBar(trace, layout, width));
    layout.autosize = true;
    delete layout.width;
    return layout;
  }

  function draw(plot) {
    near.unobserve(plot);
    const holder = document.querySelector(`script[data-for="${plot.id}"]`);
    const spec = JSON.parse(holder.textContent);
    holder.remove();
    spec.layout.template = structuredClone(template);
    for (const axes of ["x", "y"]) if (!axisNames(spec.layout, axes).length) spec.layout[axes + "axis"] = {};
    const layout = fitted(spec.data, spec.layout, plot.parentElement.clientWidth);
    const least = leastWidth(spec.data, layout);
    plot.style.minWidth = least + "px";
    if (least > plot.parentElement.clientWidth) plot.closest("figure").classList.add("wide");
    assign(layout, colours(layout));
    const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
    return Plotly.newPlot(plot, spec.data, layout, config).then(() => { plot.dataset.drawn = ""; });
  }

  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: NEAR },
  );
  const plots = [...document.querySelectorAll(".plot")];
  plots.forEach((plot) => near.observe(plot));
  const drawn = () => plots.filter((plot) => "drawn" in plot.dataset);
  document.addEventListener("scheme", () => drawn().forEach((plot) => Plotly.relayout(plot, colours(plot.layout))));
  window.addEventListener("beforeprint", () => plots.filter((plot) => !("drawn" in plot.dataset)).forEach(draw));
})();
