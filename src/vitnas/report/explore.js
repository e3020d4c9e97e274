"use strict";
// Filters above the figures, the best trials that pass, and up to two trials side by side.
(() => {
  const root = document.getElementById("explorer");
  if (!root) return;
  const { data } = Trials;
  const ROWS = 10;
  let filter = Trials.open(), chosen = [], view;

  const make = (tag, options = {}, ...children) => {
    const element = document.createElement(tag);
    const { on = {}, ...rest } = options;
    Object.assign(element, rest);
    for (const [name, run] of Object.entries(on)) element.addEventListener(name, run);
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const labelled = (text, ...inputs) =>
    make("label", { className: "control" }, make("span", { textContent: text }), ...inputs);

  const short = (value) => {
    if (value === null || value === undefined) return "–";
    for (const [unit, scale] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
      if (Math.abs(value) >= 0.9995 * scale) return `${Number((value / scale).toPrecision(3))}${unit}`;
    return String(Number(value.toPrecision(4)));
  };
  const score = (trial) => (trial.score === null ? `at most ${short(trial.bound)}` : short(trial.score));
  const number = (text) => {
    const found = /^\s*(-?[\d.]+(?:e-?\d+)?)\s*([kMG]?)\s*$/.exec(text);
    return found ? Number(found[1]) * { "": 1, k: 1e3, M: 1e6, G: 1e9 }[found[2]] : null;
  };

  // Controls -----------------------------------------------------------------------------------
  const select = (text, names, choose) => {
    const options = [make("option", { value: "", textContent: "all" })];
    names.forEach((name, i) => options.push(make("option", { value: String(i), textContent: name })));
    const change = (event) => {
      choose(event.target.value === "" ? null : Number(event.target.value));
      apply();
    };
    return names.length > 1 ? labelled(text, make("select", { on: { change } }, ...options)) : null;
  };
  const range = (text, values, target, shown = short) => {
    const known = values.filter((value) => value !== null);
    if (!known.length) return null;
    let low = known[0], high = known[0];
    for (const value of known) [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (low === high) return null;
    const input = (end, placeholder) => {
      const change = ({ target: field }) => {
        const given = number(field.value);
        field.classList.toggle("wrong", field.value.trim() !== "" && given === null);
        target()[end] = given;
        apply();
      };
      const title = `${text} ${end ? "at most" : "at least"}`;
      return make("input", { placeholder, title, ariaLabel: title, on: { change } });
    };
    return labelled(text, input(0, shown(low)), "to", input(1, shown(high)));
  };
  const genes = () => {
    const names = [...new Set(data.searches.flatMap((search) => search.genes))];
    const several = names.filter((name) => Trials.geneValues(name).length > 1);
    const value = make("select", { title: "value of the gene", disabled: true });
    const name = make("select", { title: "gene" }, make("option", { value: "", textContent: "any" }));
    several.forEach((gene) => name.append(make("option", { value: gene, textContent: gene })));
    const choose = () => {
      filter.gene = name.value ? [name.value, value.value] : null;
      apply();
    };
    name.addEventListener("change", () => {
      const values = name.value ? Trials.geneValues(name.value) : [];
      value.replaceChildren(...values.map((v) => make("option", { value: v, textContent: v })));
      value.disabled = !values.length;
      choose();
    });
    value.addEventListener("change", choose);
    return several.length ? labelled("gene", name, value) : null;
  };
  const controls = () => {
    const reset = () => {
      filter = Trials.open();
      form.reset();
      form.replaceWith((form = controls()));
      apply();
    };
    return make(
      "form",
      { className: "controls", on: { submit: (event) => event.preventDefault() } },
      select("search", data.searches.map((search) => search.shown), (i) => (filter.search = i)),
      range("score", Trials.all.map((t) => t.score), () => filter.score),
      ...data.costs.map((cost, i) =>
        range(cost.shown, Trials.all.map((t) => t.costs[i]), () => filter.costs[i])),
      range("generation", Trials.all.map((t) => t.generation), () => filter.generation),
      select("origin", data.origins, (i) => (filter.origin = i)),
      genes(),
      make("button", { type: "button", textContent: "show all", on: { click: reset } }),
    );
  };

  // One or two trials --------------------------------------------------------------------------
  const searchOf = (trial) => data.searches[trial.search];
  const button = (trial, text) =>
    make("button", { type: "button", className: "link", textContent: text, on: { click: () => choose(trial) } });
  const lanes = (trial) => {
    const { genes: names } = searchOf(trial);
    const layered = names.map((name, i) => [name, trial.genes[i]]).filter(([, v]) => Array.isArray(v));
    return layered.map(([name, value]) => [name, Trials.flat(value)]);
  };
  const drawing = (trial, other) => {
    const mine = lanes(trial), theirs = new Map(other ? lanes(other) : []);
    const rows = Math.max(0, ...mine.map(([, values]) => values.length));
    const most = (name, values) =>
      Math.max(...[...values, ...(theirs.get(name) || [])].filter((v) => typeof v === "number"));
    const head = make("tr", {}, make("th", { textContent: "layer" }),
      ...mine.map(([name]) => make("th", { textContent: name })));
    const body = [...Array(rows).keys()].map((row) => {
      const cells = mine.map(([name, values]) => {
        const value = values[row], against = theirs.get(name);
        const cell = make("td", { textContent: value === undefined ? "" : String(value) });
        if (typeof value === "number")
          cell.style.setProperty("--part", `${(92 * value) / (most(name, values) || 1)}%`);
        if (against && against[row] !== value) cell.className = "differs";
        return cell;
      });
      return make("tr", {}, make("td", { textContent: String(row + 1) }), ...cells);
    });
    return make("table", { className: "layers" }, make("thead", {}, head), make("tbody", {}, ...body));
  };
  const fact = (name, value, other) => [
    make("dt", { textContent: name }),
    make("dd", { textContent: value, className: other !== undefined && other !== value ? "differs" : "" }),
  ];
  const facts = (trial) => {
    const { genes: names } = searchOf(trial);
    const whole = names.map((name, i) => [name, trial.genes[i]]).filter(([, v]) => !Array.isArray(v));
    return [
      [searchOf(trial).scorer, score(trial)],
      ...data.costs.map((cost, i) => [cost.shown, short(trial.costs[i])]),
      ["from", `${data.origins[trial.origin]}, generation ${trial.generation}`],
      ...whole.map(([name, value]) => [name, String(value)]),
    ];
  };
  const family = (trial) => {
    const levels = Trials.ancestors(trial);
    if (!levels.length) return make("p", { className: "caption", textContent: "No ancestors." });
    const lines = levels.slice(0, 8).map((level, i) =>
      make("li", {}, i ? `${i + 1} generations back: ` : "parents: ",
        ...level.slice(0, 12).flatMap((parent) => [button(parent, `${parent.number} (${score(parent)})`), " "])));
    return make("ul", { className: "lineage" }, ...lines);
  };
  const card = (trial, other) => {
    const against = other ? new Map(facts(other)) : new Map();
    const close = () => {
      chosen = chosen.filter((one) => one !== trial);
      show();
    };
    return make(
      "article",
      { className: "card" },
      make("h3", { textContent: `${searchOf(trial).shown}, trial ${trial.number}` },
        make("button", { type: "button", className: "close", ariaLabel: "close", textContent: "×", on: { click: close } })),
      make("dl", {}, ...facts(trial).flatMap(([name, value]) => fact(name, value, against.get(name)))),
      make("div", { className: "scroll" }, drawing(trial, other)),
      family(trial),
    );
  };
  const choose = (trial) => {
    if (!trial || chosen.includes(trial)) return;
    chosen = [...chosen, trial].slice(-2);
    show();
  };

  // The page -----------------------------------------------------------------------------------
  let form;
  const count = make("p", { className: "count", ariaLive: "polite" });
  const table = make("div", { className: "scroll" });
  const cards = make("div", { className: "cards" });
  const show = () => {
    const hint = make("p", { className: "caption", textContent: "No subnet is chosen; click a dot or a row." });
    cards.replaceChildren(...(chosen.length ? chosen.map((t, i) => card(t, chosen[1 - i])) : [hint]));
    Page.refresh();
  };
  const list = () => {
    const names = ["trial", "search", "score", ...data.costs.map((cost) => cost.shown), "from"];
    const rows = view.best.slice(0, ROWS).map((trial) => {
      const cells = [searchOf(trial).shown, score(trial), ...trial.costs.map(short), data.origins[trial.origin]];
      return make("tr", {}, make("td", {}, button(trial, String(trial.number))),
        ...cells.map((text) => make("td", { textContent: text })));
    });
    const head = make("tr", {}, ...names.map((name) => make("th", { textContent: name })));
    table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  };
  const ended = data.searches.map((_, search) => Trials.all.filter((trial) => trial.search === search));
  const place = new Map(ended.flatMap((trials) => trials.map((trial, index) => [trial, index + 1])));
  const apply = () => {
    const passing = Trials.all.filter((trial) => Trials.passes(trial, filter));
    const best = Trials.best(passing), shown = new Set(passing);
    view = {
      shown, best, place, whole: passing.length === Trials.all.length,
      of: (search) => ended[search].filter((trial) => shown.has(trial)),
    };
    count.textContent =
      `${passing.length.toLocaleString("en")} of ${Trials.all.length.toLocaleString("en")} subnets; the best of them:`;
    list();
    Page.refresh();
  };
  Page.onDraw((figure) => {
    const part = (figure.layout.meta || {}).share || 0.1;
    const elites = view.best.slice(0, Math.ceil(part * view.best.length));
    Figures.update(figure, { ...view, elites });
    Figures.mark(figure, chosen);
  });
  Page.onClick((point) => {
    const { meta } = point.data;
    if (meta && meta.search !== undefined && point.customdata)
      choose(Trials.find(meta.search, point.customdata[0]));
  });
  form = controls();
  root.append(form, count, table, cards);
  apply();
  show();
})();
