"use strict";
// The trials of all searches, the filter over them, and what follows from those that pass.
const Trials = (() => {
  const box = document.getElementById("trials");
  const data = box ? JSON.parse(box.textContent) : { searches: [], costs: [], origins: [], trials: [] };
  const all = data.trials.map((row) => {
    const [search, number, score, bound, costs, origin, parents, generation, seconds, genes] = row;
    return { search, number, score, bound, costs, origin, parents, generation, seconds, genes };
  });
  const key = (search, number) => `${search}:${number}`;
  const known = new Map(all.map((trial) => [key(trial.search, trial.number), trial]));
  const indexOf = new Map(data.searches.map((search, index) => [search.name, index]));

  const flat = (value) => (Array.isArray(value) ? value.flatMap(flat) : [value]);

  // A filter: search, origin and gene by their index or null, ranges as [from, to] with nulls.
  const within = (value, [from, to]) =>
    (from === null && to === null) ||
    (value !== null && (from === null || value >= from) && (to === null || value <= to));
  const passes = (trial, filter) =>
    (filter.search === null || trial.search === filter.search) &&
    (filter.origin === null || trial.origin === filter.origin) &&
    within(trial.generation, filter.generation) &&
    within(trial.score, filter.score) &&
    trial.costs.every((cost, index) => within(cost, filter.costs[index])) &&
    (filter.gene === null || hasGene(trial, ...filter.gene));
  const hasGene = (trial, name, value) => {
    const place = data.searches[trial.search].genes.indexOf(name);
    return place >= 0 && flat(trial.genes[place]).some((found) => String(found) === value);
  };
  const open = () => ({
    search: null, origin: null, gene: null, generation: [null, null], score: [null, null],
    costs: data.costs.map(() => [null, null]),
  });

  const best = (trials) =>
    trials.filter((trial) => trial.score !== null).sort((a, b) => b.score - a.score);

  const geneValues = (name) => {
    const found = new Set();
    for (const trial of all) {
      const place = data.searches[trial.search].genes.indexOf(name);
      if (place >= 0) flat(trial.genes[place]).forEach((value) => found.add(value));
    }
    return [...found].sort((a, b) => (a > b) - (a < b)).map(String);
  };
  const geneAt = (trial, name, place) => {
    const gene = data.searches[trial.search].genes.indexOf(name);
    let value = gene < 0 ? undefined : trial.genes[gene];
    for (const layer of place) value = Array.isArray(value) ? value[layer - 1] : undefined;
    return Array.isArray(value) ? undefined : value;
  };

  // Generations of ancestors, the nearest first, at most `most` trials.
  const ancestors = (trial, most = 60) => {
    const seen = new Set([trial.number]), levels = [];
    let level = [trial];
    while (level.length && seen.size <= most) {
      const next = [];
      for (const number of level.flatMap((child) => child.parents)) {
        const parent = known.get(key(trial.search, number));
        if (!parent || seen.has(number) || seen.size > most) continue;
        seen.add(number);
        next.push(parent);
      }
      if (next.length) levels.push(next);
      level = next;
    }
    return levels;
  };

  const find = (search, number) => known.get(key(indexOf.get(search), number));
  return { data, all, find, passes, open, best, geneValues, geneAt, ancestors, flat, indexOf };
})();
