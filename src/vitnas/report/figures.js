"use strict";
// Draws the trials that pass the filter into the figures that the page came with. Each trace says
// by its role what it is; what all of them showed at first is kept.
const Figures = (() => {
  const marked = { chosen: "#ddaa33", ancestor: "#80858f" };

  // Points that no other is better than in both, by falling score: the way of the front's line.
  const front = (points) => {
    const found = [];
    let most = -Infinity;
    for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y)) {
      if (point.y > most) {
        found.push(point);
        most = point.y;
      }
    }
    return found.reverse();
  };

  const dominates = (a, b) => a.every((value, i) => value <= b[i]);

  // Volume between points and a reference, lower being better in every dimension.
  const volume = (points, reference) => {
    const last = reference.length - 1;
    const inside = points.filter((point) => point.every((value, i) => value < reference[i]));
    if (!inside.length) return 0;
    if (last === 0) return reference[0] - Math.min(...inside.map((point) => point[0]));
    inside.sort((a, b) => a[last] - b[last]);
    let total = 0;
    inside.forEach((point, index) => {
      const end = index + 1 < inside.length ? inside[index + 1][last] : reference[last];
      if (end === point[last]) return;
      const slice = inside.slice(0, index + 1).map((other) => other.slice(0, last));
      total += (end - point[last]) * volume(slice, reference.slice(0, last));
    });
    return total;
  };

  // The hypervolume after each trial of a search, in percent of the box.
  const volumes = (trials, meta) => {
    const places = meta.costs.map((cost) => Trials.data.costs.findIndex((c) => c.name === cost));
    const reference = [-meta.reference[0], ...meta.reference.slice(1)];
    let best = [], share = 0;
    return trials.map((trial) => {
      const costs = places.map((place) => trial.costs[place]);
      const point = [-trial.score, ...costs];
      const whole = trial.score !== null && !costs.some((cost) => cost === null || cost === undefined);
      if (whole && !best.some((other) => dominates(other, point))) {
        best = [...best.filter((other) => !dominates(point, other)), point];
        share = Math.max(share, (100 * volume(best, reference)) / meta.box);
      }
      return share;
    });
  };

  const points = (trace, first, shown) => {
    const keep = first.customdata
      .map((told, index) => [Trials.find(trace.meta.search, told[0]), index])
      .filter(([trial]) => shown.has(trial));
    const pick = (values) => keep.map(([, index]) => values[index]);
    return { x: pick(first.x), y: pick(first.y), customdata: pick(first.customdata) };
  };

  const share = (trace, elites) => {
    const parts = trace.meta.counted.map(([gene, place, value]) => {
      const found = elites.map((trial) => Trials.geneAt(trial, gene, place));
      const having = found.filter((other) => other !== undefined);
      return having.length ? having.filter((other) => other === value).length / having.length : 0;
    });
    const percent = (part) => `${Math.round(100 * part)}%`;
    const text = parts.map((part, i) => `${String(trace.text[i]).split(" · ")[0]} · ${percent(part)}`);
    const told = parts.map((part, i) => {
      const [name, rest] = String(trace.customdata[i]).split(/: (?=[\d.]+%, )/);
      return `${name}: ${percent(part)}, ${rest.split(", ")[1]}`;
    });
    return { x: parts, text, customdata: told };
  };

  // What each trace shows of the trials; null where it stays as it is.
  const redrawn = (trace, first, view, cloud) => {
    const role = trace.meta && trace.meta.role;
    const mine = () => view.of(Trials.indexOf.get(trace.meta.search));
    if (role === "cloud" || role === "dots") return points(trace, first, view.shown);
    if (role === "front") {
      const best = front(cloud);
      return { x: best.map((p) => p.x), y: best.map((p) => p.y) };
    }
    if (role === "best") {
      let best = -Infinity;
      const ended = mine().map((trial, index) => [trial, view.place.get(trial), index]);
      const scored = ended.filter(([trial]) => trial.score !== null);
      return {
        x: scored.map(([, place]) => place),
        y: scored.map(([trial]) => (best = Math.max(best, trial.score))),
      };
    }
    if (role === "volume") {
      const trials = mine();
      return { x: trials.map((trial) => view.place.get(trial)), y: volumes(trials, trace.meta) };
    }
    if (role === "ends") return { visible: view.whole };
    if (role === "share") return share(first, view.elites);
    return null;
  };

  const isMark = (trace) => trace.meta && trace.meta.role === "mark";

  // A figure of searches that the page has no data of stays as it came.
  const foreign = ({ meta }) => meta && meta.search !== undefined && !Trials.indexOf.has(meta.search);

  const update = (figure, view) => {
    if (figure.first.some(foreign)) return;
    const cloud = [];
    figure.data = figure.data.filter((trace) => !isMark(trace));
    figure.data.forEach((trace, index) => {
      const first = figure.first[index];
      const change = view.whole && trace.meta ? restored(first) : redrawn(trace, first, view, cloud);
      if (trace.meta && trace.meta.role === "cloud")
        change.x.forEach((x, i) => cloud.push({ x, y: change.y[i] }));
      if (change) Object.assign(trace, change);
    });
  };
  const restored = ({ x, y, customdata, text, visible }) =>
    Object.fromEntries(
      Object.entries({ x, y, customdata, text, visible }).filter(([, v]) => v !== undefined),
    );

  // Rings on the chosen trials and lines to their ancestors, in figures of score against cost.
  const mark = (figure, chosen) => {
    if (figure.first.some(foreign)) return;
    const cloud = figure.first.filter((trace) => trace.meta && trace.meta.role === "cloud");
    const at = new Map();
    for (const trace of cloud)
      trace.customdata.forEach((told, i) =>
        at.set(Trials.find(trace.meta.search, told[0]), [trace.x[i], trace.y[i]]));
    const rings = (trials, color, size) => {
      const places = trials.map((trial) => at.get(trial)).filter(Boolean);
      return {
        type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false,
        meta: { role: "mark" }, x: places.map(([x]) => x), y: places.map(([, y]) => y),
        marker: { symbol: "circle-open", size, color, line: { width: size > 12 ? 3 : 2 } },
      };
    };
    if (!cloud.length || !chosen.length) return;
    const elder = chosen.flatMap((trial) => Trials.ancestors(trial).flat());
    figure.data.push(rings(elder, marked.ancestor, 11), rings(chosen, marked.chosen, 18));
  };

  return { update, mark, front, volume };
})();
