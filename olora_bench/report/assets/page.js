"use strict";
(() => {
  // ---- small helpers -------------------------------------------------------------------------------------------------------------
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const put = (node, ...children) => { node.replaceChildren(...children); return node; };
  // Text only ever enters the page as a text node or an attribute: titles and error texts are not to be trusted.
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }
  function svg(tag, attributes = {}, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  const options = (select, pairs, chosen) => put(select, ...pairs.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const minus = (text) => text.replace(/^-/, "−");
  const short = (value, digits = 4) => (Number.isFinite(value) ? minus(String(Number(value.toPrecision(digits)))) : "–");
  // As words/numbers.py writes a learning rate.
  const lrText = (value) => (value >= 0.1 || !(value > 0) ? short(value, 3) : Number(value.toPrecision(3)).toExponential());
  function save(name, parts, type) {
    const link = el("a", { href: URL.createObjectURL(new Blob(parts, { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 5000);
  }

  const data = JSON.parse($("#study-data").textContent);
  let curveCache;
  const curves = () => (curveCache ??= JSON.parse($("#curve-data").textContent));
  const arms = new Map(data.arms.map((arm) => [arm.name, arm]));
  const runs = data.runs.map(([id, arm, cell, lr, seed, state, words, tuning]) => ({ id, arm, cell, lr, seed, state, words, tuning }));
  const runById = new Map(runs.map((run) => [run.id, run]));
  const tables = new Map(data.tables.map((table) => [table.name, table]));

  // ---- theme ---------------------------------------------------------------------------------------------------------------------
  let printing = false;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => !printing && (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const armColour = (name) => { const arm = arms.get(name); return arm ? (isDark() ? arm.dark : arm.light) : colour("--quiet"); };
  const dashOf = (name) => (arms.get(name)?.dash || "");
  const redraws = [];
  const redrawAll = () => redraws.forEach((draw) => draw());
  const themeButton = $("#theme");
  const nameTheme = () => { themeButton.textContent = isDark() ? "Light" : "Dark"; themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    nameTheme();
    redrawAll();
  }
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a page from disk may have no storage */ } };
  const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => { const theme = isDark() ? "light" : "dark"; remember("olora_bench.theme", theme); setTheme(theme); });
  prefersDark.addEventListener("change", () => { nameTheme(); redrawAll(); });
  addEventListener("beforeprint", () => { printing = true; redrawAll(); });
  addEventListener("afterprint", () => { printing = false; redrawAll(); });

  // ---- tables --------------------------------------------------------------------------------------------------------------------
  function parseCsv(text) {
    const rows = [];
    let row = [], field = "", quoted = false, start = 0;
    for (let i = 0; i <= text.length; i++) {
      const c = text[i];
      if (quoted) {
        if (c === '"' && text[i + 1] === '"') { field += text.slice(start, i + 1); start = i + 2; i++; }
        else if (c === '"') { field += text.slice(start, i); start = i + 1; quoted = false; }
      } else if (c === '"') { start = i + 1; quoted = true; }
      else if (c === "," || c === "\n" || c === undefined) {
        field += text.slice(start, i);
        start = i + 1;
        if (c !== undefined || field || row.length) row.push(field);
        field = "";
        if (c !== "," && row.length) { rows.push(row); row = []; }
      }
    }
    return rows;
  }
  const toNumber = (text) => (text === "" || text === undefined ? NaN : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text));
  function parsed(name) {
    const table = tables.get(name);
    if (!table) return { header: [], records: [], get: () => "" };
    if (!table.parsed) {
      const [header, ...records] = parseCsv(table.csv);
      const at = new Map(header.map((column, i) => [column, i]));
      table.parsed = { header, records, at, get: (record, column) => record[at.get(column)] ?? "", num: (record, column) => toNumber(record[at.get(column)]) };
    }
    return table.parsed;
  }
  // A value as the table shows it, so that a chart never rounds another way.
  function shownText(name, record, column) {
    const table = tables.get(name), { header, records } = parsed(name), c = table.columns.findIndex(([index]) => header[index] === column);
    return c < 0 || !table.rows ? short(parsed(name).num(record, column)) : table.rows[records.indexOf(record)][c];
  }
  // A comparison: its contrast, its protocol and, where both arms share one, its learning rate.
  const keyOf = (p, r) => [p.get(r, "contrast"), p.get(r, "role"), lrText(p.num(r, "lr_arm"))].join("|");
  const protocolWords = (key) => { const [, role, lr] = key.split("|"); return role === "shared" ? `lr ${lr}` : role; };
  const keyWords = (key) => `${key.split("|")[0]}, ${protocolWords(key)}`;
  function runsOf(name, record) {
    const { at } = parsed(name);
    const ids = ["runs", "train_id", "arm_id", "reference_id"].flatMap((column) => (at.has(column) ? record[at.get(column)].split(" ") : []));
    return [...new Set(ids)].filter((id) => runById.has(id));
  }
  const runButton = (id) => el("button", { type: "button", class: "linkish mono", title: runById.get(id).words, onclick: () => openRun(id) }, id);
  const runList = (ids) => el("div", { class: "runs-list" }, ...ids.map(runButton));

  // Where Python's page names runs, a button opens their list.
  for (const place of $$("[data-runs]")) {
    const ids = place.dataset.runs.split(" ").filter((id) => runById.has(id));
    if (!ids.length) continue;
    const list = runList([]);
    list.hidden = true;
    const button = el("button", { type: "button", class: "linkish", "aria-expanded": "false", onclick: () => {
      if (!list.childElementCount) list.append(...ids.map(runButton));
      list.hidden = !list.hidden;
      button.setAttribute("aria-expanded", String(!list.hidden));
    } }, plural(ids.length, "run") + " behind this");
    place.append(button, list);
  }

  const PILLS = new Set(["verdict", "state", "what"]);
  const PAGE_ROWS = 60;
  // What a row is about stays in sight at the left; what came out stands next to it.
  const LEADS = ["benchmark", "measure"], OUTCOMES = ["difference", "speedup", "low", "high", "loss_difference", "loss_low", "loss_high", "verdict"];
  const NARROW = 640;
  function arranged(columns) {
    if (!columns.some((column) => column.key === "verdict" || column.key === "difference")) return columns;
    const lead = columns.find((column) => LEADS.includes(column.key)) || columns[0];
    const out = OUTCOMES.map((key) => columns.find((column) => column.key === key)).filter((column) => column && column !== lead);
    if (innerWidth < NARROW) out.sort((a, b) => (b.key === "verdict") - (a.key === "verdict")); // both in sight before anything is scrolled
    return [lead, ...out, ...columns.filter((column) => column !== lead && !out.includes(column))];
  }
  function tableView(table, body) {
    const { records, at } = parsed(table.name);
    const columns = arranged(table.columns.map(([index, heading, numeric], shown) => ({ index, heading, numeric, shown, key: parsed(table.name).header[index] })));
    const p = parsed(table.name), told = ["contrast", "role", "lr_arm"].every((column) => at.has(column));
    const under = told && ((record) => (columns[0].key === "contrast" ? protocolWords : keyWords)(keyOf(p, record)));
    const links = ["runs", "arm_id"].some((column) => at.has(column));
    const shown = (row, c) => table.rows ? table.rows[row][columns[c].shown] : plainValue(records[row][columns[c].index], columns[c].numeric);
    const filter = el("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter ${table.title}` });
    const count = el("span", { class: "quiet", role: "status" });
    const more = el("button", { type: "button" });
    const head = el("tr"), rows = el("tbody");
    let sort = null, down = false, limit = PAGE_ROWS;
    const heads = columns.map((column, c) => {
      const th = el("th", { scope: "col", class: column.numeric ? "n" : null, "aria-sort": "none" });
      th.append(el("button", { type: "button", onclick: () => { down = sort === c ? !down : false; sort = c; draw(); } }, column.heading));
      return th;
    });
    head.append(...heads);
    if (links) head.append(el("th", { scope: "col", class: "runs-cell" }, "runs"));
    function order() {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = records.map((_, row) => row);
      if (words.length) found = found.filter((row) => { const text = columns.map((_, c) => shown(row, c)).join(" ").toLowerCase() + " " + runsOf(table.name, records[row]).join(" "); return words.every((word) => text.includes(word)); });
      if (sort === null) return found;
      const { index, numeric } = columns[sort], way = down ? -1 : 1;
      const value = (row) => (numeric ? toNumber(records[row][index]) : records[row][index]);
      const empty = (x) => (numeric ? Number.isNaN(x) : x === "");
      return found.sort((a, b) => {
        const x = value(a), y = value(b);
        if (empty(x) || empty(y)) return empty(x) - empty(y) || a - b; // what is not known comes last either way
        return way * (numeric ? (x < y ? -1 : x > y ? 1 : 0) : x.localeCompare(y, "en", { numeric: true })) || a - b;
      });
    }
    function rowOf(row) {
      const cells = columns.map((column, c) => {
        const text = shown(row, c), pill = PILLS.has(column.key) && text !== "–";
        const cell = el("td", { class: column.numeric ? "n" : text.length > 34 ? "long" : null });
        if (text.length > 34) cell.style.minWidth = `${Math.min(Math.ceil(text.length / 2) + 6, 90)}ch`; // two lines: no column out of sight makes its row tall
        if (column.key === "train_id" && runById.has(text)) cell.append(runButton(text));
        else if (pill) cell.append(el("span", { class: "pill " + text.split(" ")[0].replace(/[^a-z]/g, "") }, text));
        else cell.append(text);
        if (c === 0 && under) cell.append(el("span", { class: "under" }, under(records[row])));
        return cell;
      });
      const tr = el("tr", {}, ...cells);
      if (!links) return tr;
      const ids = runsOf(table.name, records[row]);
      const button = el("button", { type: "button", class: "linkish", "aria-expanded": "false", onclick: () => {
        const open = button.getAttribute("aria-expanded") === "true";
        if (open) tr.nextSibling.remove();
        else tr.after(el("tr", {}, el("td", { colspan: columns.length + 1 }, runList(ids))));
        button.setAttribute("aria-expanded", String(!open));
      } }, String(ids.length));
      button.setAttribute("aria-label", plural(ids.length, "run") + " behind this row");
      tr.append(el("td", { class: "runs-cell" }, ids.length ? button : "–"));
      return tr;
    }
    function draw() {
      const found = order();
      heads.forEach((th, c) => th.setAttribute("aria-sort", sort === c ? (down ? "descending" : "ascending") : "none"));
      put(rows, ...found.slice(0, limit).map(rowOf));
      count.textContent = found.length === records.length ? plural(records.length, "row") : `${found.length} of ${plural(records.length, "row")}`;
      more.hidden = found.length <= limit;
      more.textContent = `Show all ${found.length}`;
    }
    let timer;
    filter.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { limit = PAGE_ROWS; draw(); }, 80); });
    more.addEventListener("click", () => { limit = Infinity; draw(); });
    const csv = el("button", { type: "button", onclick: () => save(`${table.name}.csv`, [table.csv], "text/csv") }, "Save CSV");
    const grid = el("table", {}, el("caption", { hidden: true }, table.title), el("thead", {}, head), rows);
    if (table.caption) body.append(el("p", { class: "quiet" }, table.caption));
    const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": table.title }, grid), hint = el("p", { class: "quiet hint", hidden: true }, "There are more columns at the right: scroll sideways →");
    body.append(el("div", { class: "controls" }, filter, csv, count), hint, scroll, el("p", { class: "more" }, more));
    draw();
    const look = () => { hint.hidden = scroll.scrollWidth <= scroll.clientWidth + 1; };
    new ResizeObserver(look).observe(scroll);
    look();
  }
  function plainValue(text, numeric) {
    if (text === "") return "–";
    if (text === "True" || text === "False") return text === "True" ? "yes" : "no";
    return numeric ? short(toNumber(text), 5) : text;
  }
  const OPEN = ["grid", "not_done"];
  for (const table of data.tables) {
    const empty = !table.csv.slice(table.csv.indexOf("\n") + 1);
    if (["claims", "warnings", "declared"].includes(table.name) || (empty && table.name !== "grid")) continue;
    const body = el("div");
    const rows = table.rows ? table.rows.length : parsed(table.name).records.length;
    const details = el("details", { class: "table", id: `table-${table.name}` }, el("summary", {}, table.title, el("span", { class: "quiet" }, plural(rows, "row"))), body);
    const fill = () => { if (!body.childElementCount) tableView(table, body); };
    details.addEventListener("toggle", () => { if (details.open) fill(); });
    (table.main ? $("#table-list") : $("#raw-list")).append(details);
    if (OPEN.includes(table.name)) { details.open = true; fill(); }
  }
  $("#raw-title").hidden = !$("#raw-list").childElementCount;
  $("#all-json").addEventListener("click", () => save("tables.json", [JSON.stringify(Object.fromEntries(data.tables.map((table) => [table.name, table.csv])))], "application/json"));
  $("#tables").hidden = false;

  // ---- one run -------------------------------------------------------------------------------------------------------------------
  function openRun(id) {
    const run = runById.get(id), { header, records, at } = parsed("runs");
    const record = records.find((row) => row[at.get("train_id")] === id) || [];
    const list = el("dl");
    header.forEach((column, c) => { if (record[c]) list.append(el("dt", {}, column.replace(/_/g, " ")), el("dd", {}, record[c])); });
    const show = el("button", { type: "button", onclick: () => { $("#run").close(); c.cell = run.cell; c.lr = run.tuning ? "all" : String(run.lr); c.armsOff = new Set(); c.seedsOff = new Set(seedsIn(run.cell).filter((seed) => seed !== run.seed)); zoomReset(); syncCurves(); location.hash = "#curves"; } }, "Show the loss curves of its seed");
    put($("#run-title"), run.words);
    put($("#run-body"), el("p", { class: "mono" }, id), el("p", {}, show));
    if (data.run_pages) $("#run-body").append(el("p", {}, el("a", { href: `runs/${id}.html` }, "Its own page")));
    $("#run-body").append(list);
    $("#run").showModal();
  }

  // ---- scales --------------------------------------------------------------------------------------------------------------------
  function niceTicks(low, high, count) {
    if (!(high > low)) return [low];
    const power = 10 ** Math.floor(Math.log10((high - low) / count)), ticks = [];
    const ends = (step) => [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
    const step = [1, 2, 5, 10, 20, 50].map((m) => m * power).find((s) => ends(s)[1] - ends(s)[0] < count);
    for (let [k, last] = ends(step); k <= last; k++) ticks.push(Number((k * step).toPrecision(12)));
    return ticks;
  }
  function logTicks(low, high, count) {
    if (high / low < 15) return niceTicks(low, high, count).filter((t) => t > 0);
    const ticks = [];
    const many = Math.log10(high / low) > count;
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) for (const m of many ? [1] : [1, 3]) {
      const t = Number((m * 10 ** e).toPrecision(3));
      if (t >= low * 0.999 && t <= high * 1.001) ticks.push(t);
    }
    return ticks;
  }
  const tickText = (value) => { const size = Math.abs(value); return size >= 1e6 ? short(value / 1e6, 3) + "M" : size >= 1e4 ? short(value / 1e3, 4) + "k" : size !== 0 && size < 1e-4 ? minus(value.toExponential()) : short(value, 4); };
  const signedText = (value) => (value > 0 ? "+" : "") + tickText(value);

  // ---- loss curves ---------------------------------------------------------------------------------------------------------------
  const c = { cell: 0, lr: "best", series: "report", x: 0, smooth: 0, logx: false, logy: false, mean: true, armsOff: new Set(), seedsOff: new Set(), zoom: null };
  const canvas = $("#c-canvas"), plot = $("#c-plot"), tip = $("#c-tip");
  const X_NAMES = ["steps", "tokens", "seconds"];
  const inCell = (cell) => (cell === -1 ? runs : runs.filter((run) => run.cell === cell));
  const seedsOf = (some) => [...new Set(some.map((run) => run.seed))].sort((a, b) => a - b);
  const seedsIn = (cell) => seedsOf(inCell(cell));
  const rateRows = () => { const p = parsed("learning_rates"); return p.records.map((r) => ({ cell: data.cell_of[p.get(r, "cell")] ?? -1, arm: p.get(r, "arm"), lr: p.num(r, "lr"), best: p.get(r, "best") === "True", edge: p.get(r, "edge"), tune: p.num(r, "tune"), report_loss: p.num(r, "report_loss"), score: p.num(r, "score"), diverged: p.num(r, "diverged"), runs: { tune: p.num(r, "n_tune"), report_loss: p.num(r, "n_report_loss"), score: p.num(r, "n_score") }, criterion: p.get(r, "criterion") })); };
  const rates = rateRows();
  const bestLr = new Map(rates.filter((r) => r.best).map((r) => [`${r.cell} ${r.arm}`, r.lr]));
  const sameLr = (a, b) => Math.abs(a - b) <= 1e-5 * Math.abs(b);
  const lrFits = (run) => c.lr === "all" || (c.lr === "best" ? !bestLr.has(`${run.cell} ${run.arm}`) || sameLr(run.lr, bestLr.get(`${run.cell} ${run.arm}`)) : sameLr(run.lr, Number(c.lr)));
  // Runs that only chose a rate stand beside the fresh ones under "all": else the mean of one arm would rest on seeds that another lacks.
  const reported = new Set(runs.filter((run) => !run.tuning).map((run) => `${run.cell} ${run.arm} ${run.lr}`));
  const isFresh = (run) => c.lr === "all" || !run.tuning || !reported.has(`${run.cell} ${run.arm} ${run.lr}`);
  const chosen = (run) => !c.armsOff.has(run.arm) && !c.seedsOff.has(run.seed) && lrFits(run) && isFresh(run);
  function smoothed(values, window) {
    if (!window) return values;
    const sums = [0];
    for (const value of values) sums.push(sums[sums.length - 1] + value);
    return values.map((_, i) => { const half = Math.min(window, i, values.length - 1 - i); return (sums[i + half + 1] - sums[i - half]) / (2 * half + 1); });
  }
  let lines = [], means = [], frame = null, frameTimer = 0;
  function collect() {
    const { axes, curves: known } = curves();
    lines = [];
    for (const run of inCell(c.cell)) {
      if (!chosen(run)) continue;
      const series = known[run.id]?.[c.series];
      if (series && axes[series[c.x]].every(Number.isFinite)) lines.push({ run, x: axes[series[c.x]], y: smoothed(series[3], c.smooth) });
    }
    const groups = new Map();
    for (const line of lines) { const key = `${line.run.arm} ${line.run.lr} ${line.run.cell}`; groups.set(key, [...(groups.get(key) || []), line]); }
    means = c.mean ? [...groups.values()].filter((group) => group.length > 1).map(meanOf) : [];
  }
  function meanOf(group) {
    // Each run may be read at other places, so all are read off where the first one was, as far as the shortest goes.
    const end = Math.min(...group.map((line) => line.x[line.x.length - 1])), start = Math.max(...group.map((line) => line.x[0]));
    const x = group[0].x.filter((v) => v >= start && v <= end);
    return { run: group[0].run, count: group.length, x, y: x.map((v) => group.reduce((sum, line) => sum + valueAt(line, v), 0) / group.length) };
  }
  function valueAt(line, v) {
    let low = 0, high = line.x.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (line.x[middle] <= v) low = middle; else high = middle; }
    const x0 = line.x[low], x1 = line.x[high];
    return x1 === x0 ? line.y[low] : line.y[low] + (Math.min(Math.max(v, x0), x1) - x0) / (x1 - x0) * (line.y[high] - line.y[low]);
  }
  const usable = (value, log) => Number.isFinite(value) && (!log || value > 0);
  function extent() {
    let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
    for (const line of lines) for (let i = 0; i < line.x.length; i++) {
      const x = line.x[i], y = line.y[i];
      if (!usable(x, c.logx) || !usable(y, c.logy)) continue;
      if (x < x0) x0 = x; if (x > x1) x1 = x; if (y < y0) y0 = y; if (y > y1) y1 = y;
    }
    if (!(x1 >= x0)) return null;
    if (x1 === x0) x1 = x0 + 1;
    const pad = (c.logy ? Math.log(y1 / y0) : y1 - y0) * 0.05 || 0.05;
    return c.logy ? [x0, x1, y0 * Math.exp(-pad), y1 * Math.exp(pad)] : [x0, x1, y0 - pad, y1 + pad];
  }
  const forward = (value, log) => (log ? Math.log(value) : value);
  const backward = (value, log) => (log ? Math.exp(value) : value);
  function makeFrame() {
    const box = c.zoom || extent();
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!box || !width) return null;
    const left = 56, right = width - 14, top = 12, bottom = height - 44;
    const [x0, x1, y0, y1] = box, fx0 = forward(x0, c.logx), fx1 = forward(x1, c.logx), fy0 = forward(y0, c.logy), fy1 = forward(y1, c.logy);
    return { left, right, top, bottom, width, height, box,
      px: (x) => left + (forward(x, c.logx) - fx0) / (fx1 - fx0) * (right - left), py: (y) => bottom - (forward(y, c.logy) - fy0) / (fy1 - fy0) * (bottom - top),
      ix: (p) => backward(fx0 + (p - left) / (right - left) * (fx1 - fx0), c.logx), iy: (p) => backward(fy0 + (bottom - p) / (bottom - top) * (fy1 - fy0), c.logy) };
  }
  let drag = null;
  function drawCurves() {
    const began = performance.now();
    frame = makeFrame();
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const ink = printing ? "#000" : colour("--ink"), quiet = printing ? "#444" : colour("--quiet"), grid = printing ? "#ddd" : colour("--line");
    pen.font = `12px ${colour("--sans")}`;
    canvas.dataset.lines = lines.length;
    if (!frame) {
      pen.fillStyle = quiet;
      pen.textAlign = "center";
      pen.fillText("No curve to show: nothing was read, or everything is switched off.", width / 2, height / 2, width - 20);
      describe();
      return;
    }
    const { left, right, top, bottom, px, py, box } = frame;
    pen.strokeStyle = grid;
    pen.fillStyle = quiet;
    pen.lineWidth = 1;
    const xTicks = (c.logx ? logTicks : niceTicks)(box[0], box[1], Math.max(3, Math.floor(width / 110))), yTicks = (c.logy ? logTicks : niceTicks)(box[2], box[3], 6);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const t of yTicks) { const y = Math.round(py(t)) + 0.5; pen.beginPath(); pen.moveTo(left, y); pen.lineTo(right, y); pen.stroke(); pen.fillText(tickText(t), left - 7, y); }
    pen.textBaseline = "top";
    xTicks.forEach((t) => { const x = px(t), text = tickText(t), half = pen.measureText(text).width / 2; pen.textAlign = x + half > width - 2 ? "right" : "center"; pen.fillText(text, x + half > width - 2 ? width - 2 : x, bottom + 7); });
    pen.textAlign = "center";
    pen.fillText(X_NAMES[c.x], (left + right) / 2, bottom + 26);
    pen.save();
    pen.translate(12, (top + bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText({ train: "train loss", tune: "loss on the tune part", report: "held-out loss" }[c.series] + ", nats per token (lower is better)", 0, -6);
    pen.restore();
    pen.save();
    pen.beginPath();
    pen.rect(left, top - 2, right - left, bottom - top + 4);
    pen.clip();
    const crowd = lines.length;
    const trace = (line, alpha, weight) => {
      pen.globalAlpha = alpha;
      pen.lineWidth = weight;
      pen.strokeStyle = armColour(line.run.arm);
      pen.setLineDash(dashOf(line.run.arm).split(" ").filter(Boolean).map(Number));
      pen.beginPath();
      let down = false;
      for (let i = 0; i < line.x.length; i++) {
        if (!usable(line.x[i], c.logx) || !usable(line.y[i], c.logy)) { down = false; continue; }
        const x = px(line.x[i]), y = py(line.y[i]);
        if (down) pen.lineTo(x, y); else pen.moveTo(x, y);
        down = true;
      }
      pen.stroke();
    };
    const faint = means.length ? (crowd > 60 ? 0.12 : 0.3) : crowd > 60 ? 0.35 : 0.9;
    for (const line of lines) trace(line, faint, means.length ? 1 : 1.5);
    for (const line of means) trace(line, 1, 2.4);
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    for (const line of lines) if (line.run.state === "diverged") {
      const i = line.x.length - 1, x = px(line.x[i]), y = py(line.y[i]);
      pen.strokeStyle = armColour(line.run.arm);
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(x - 5, y - 5); pen.lineTo(x + 5, y + 5); pen.moveTo(x - 5, y + 5); pen.lineTo(x + 5, y - 5);
      pen.stroke();
    }
    pen.restore();
    pen.strokeStyle = quiet;
    pen.beginPath();
    pen.moveTo(left + 0.5, top); pen.lineTo(left + 0.5, bottom + 0.5); pen.lineTo(right, bottom + 0.5);
    pen.stroke();
    if (drag && drag.x1 !== undefined) {
      pen.fillStyle = ink;
      pen.globalAlpha = 0.12;
      pen.fillRect(Math.min(drag.x0, drag.x1), Math.min(drag.y0, drag.y1), Math.abs(drag.x1 - drag.x0), Math.abs(drag.y1 - drag.y0));
      pen.globalAlpha = 1;
    }
    Object.assign(canvas.dataset, { x0: short(box[0], 6), x1: short(box[1], 6), y0: short(box[2], 6), y1: short(box[3], 6), drawMs: (performance.now() - began).toFixed(1) });
    describe();
  }
  function describe() {
    const names = [...new Set(lines.map((line) => line.run.arm))];
    const range = frame ? `, ${X_NAMES[c.x]} ${short(frame.box[0])} to ${short(frame.box[1])}, loss ${short(frame.box[2])} to ${short(frame.box[3])} nats` : "";
    canvas.setAttribute("aria-label", `${plural(lines.length, "loss curve")} of ${names.join(", ") || "no arm"}${range}. The same as a table below.`);
    $("#c-caption").textContent = lines.length ? caption() : "";
    if ($("#c-alt").open) fillAlternative();
  }
  function caption() {
    const seeds = [...new Set(lines.map((line) => line.run.seed))].sort((a, b) => a - b), gone = lines.filter((line) => line.run.state === "diverged").length;
    const lrs = [...new Set(lines.map((line) => line.run.lr))].sort((a, b) => a - b).map(lrText), without = inCell(c.cell).filter((run) => chosen(run) && !curves().curves[run.id]).length;
    const left = inCell(c.cell).filter((run) => !c.armsOff.has(run.arm) && lrFits(run) && !isFresh(run)).length;
    return `${c.cell === -1 ? "All settings" : data.cells[c.cell]}. ${plural(lines.length, "run")}, ${lrs.length > 6 ? `${lrs.length} learning rates` : `lr ${lrs.join(", ")}`}, ${seeds.length > 8 ? `${seeds.length} seeds` : `seed${seeds.length === 1 ? "" : "s"} ${seeds.join(", ")}`}.` +
      (means.length ? " Thick: mean over the seeds of an arm and learning rate; thin: each seed." : "") + (c.smooth ? ` Each point is the mean of up to ${2 * c.smooth + 1} neighbours.` : "") + (gone ? ` Cross: diverged (${gone}).` : "") + (left ? ` Not among them: ${plural(left, "run")} that chose these rates.` : "") + (without ? ` ${plural(without, "run")} of these ${without === 1 ? "has" : "have"} no curve.` : "");
  }
  function fillAlternative() {
    const rows = lines.slice(0, 400).map(({ run, x, y }) => el("tr", {}, el("td", {}, runButton(run.id)), el("td", {}, run.arm), el("td", { class: "n" }, lrText(run.lr)), el("td", { class: "n" }, String(run.seed)), el("td", {}, run.state), el("td", { class: "n" }, short(y[0])), el("td", { class: "n" }, short(y[y.length - 1])), el("td", { class: "n" }, short(Math.min(...y))), el("td", { class: "n" }, short(x[x.length - 1]))));
    put($("#c-alt .scroll"), el("table", {}, el("thead", {}, el("tr", {}, ...["run", "arm", "lr", "seed", "state", "first loss", "last loss", "lowest loss", `last ${X_NAMES[c.x].replace(/s$/, "")}`].map((h, i) => el("th", { scope: "col", class: i > 1 && i !== 4 ? "n" : null }, h)))), el("tbody", {}, ...rows)));
  }
  $("#c-alt").addEventListener("toggle", () => { if ($("#c-alt").open) fillAlternative(); });
  const soon = () => { if (!frameTimer) frameTimer = requestAnimationFrame(() => { frameTimer = 0; drawCurves(); }); };
  function zoomReset() { c.zoom = null; }
  function zoomBy(what) {
    if (what === "reset") { zoomReset(); soon(); return; }
    const box = frame?.box;
    if (!box) return;
    const fx = [forward(box[0], c.logx), forward(box[1], c.logx)], fy = [forward(box[2], c.logy), forward(box[3], c.logy)];
    const scale = (pair, factor) => { const m = (pair[0] + pair[1]) / 2, h = (pair[1] - pair[0]) / 2 * factor; return [m - h, m + h]; };
    const shift = (pair, share) => pair.map((v) => v + share * (pair[1] - pair[0]));
    const act = { in: [scale(fx, 0.6), scale(fy, 0.6)], out: [scale(fx, 1 / 0.6), scale(fy, 1 / 0.6)], left: [shift(fx, -0.2), fy], right: [shift(fx, 0.2), fy], up: [fx, shift(fy, 0.2)], down: [fx, shift(fy, -0.2)] }[what];
    c.zoom = [...act[0].map((v) => backward(v, c.logx)), ...act[1].map((v) => backward(v, c.logy))];
    soon();
  }
  $$("[data-zoom]").forEach((button) => button.addEventListener("click", () => zoomBy(button.dataset.zoom)));
  canvas.addEventListener("keydown", (event) => {
    const what = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "=": "in", "-": "out", 0: "reset", Escape: "reset" }[event.key];
    if (what && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); zoomBy(what); }
  });
  const local = (event) => { const r = canvas.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
  canvas.addEventListener("pointerdown", (event) => { if (event.button === 0 && event.pointerType !== "touch" && frame) { const [x0, y0] = local(event); drag = { x0, y0 }; canvas.setPointerCapture(event.pointerId); } });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = local(event);
    if (drag) { drag.x1 = x; drag.y1 = y; tip.hidden = true; soon(); } else hover(x, y);
  });
  canvas.addEventListener("pointerup", () => {
    const box = drag;
    drag = null;
    if (!box || box.x1 === undefined || !frame || (Math.abs(box.x1 - box.x0) < 6 && Math.abs(box.y1 - box.y0) < 6)) { soon(); return; }
    const clampX = (p) => Math.min(Math.max(p, frame.left), frame.right), clampY = (p) => Math.min(Math.max(p, frame.top), frame.bottom);
    const xs = [clampX(box.x0), clampX(box.x1)].sort((a, b) => a - b), ys = [clampY(box.y0), clampY(box.y1)].sort((a, b) => a - b);
    // A drag that is nearly flat or nearly upright means one axis.
    const x = xs[1] - xs[0] < 6 ? frame.box.slice(0, 2) : xs.map(frame.ix), yy = ys[1] - ys[0] < 6 ? frame.box.slice(2) : [frame.iy(ys[1]), frame.iy(ys[0])];
    c.zoom = [...x, ...yy];
    soon();
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", () => zoomBy("reset"));
  function hover(x, y) {
    if (!frame) return;
    let best = null, near = 18 * 18;
    for (const line of [...means, ...lines]) for (let i = 0; i < line.x.length; i++) {
      const dx = frame.px(line.x[i]) - x, dy = frame.py(line.y[i]) - y, d = dx * dx + dy * dy;
      if (d < near) { near = d; best = [line, i]; }
    }
    tip.hidden = !best;
    if (!best) return;
    const [line, i] = best;
    tip.textContent = `${line.count ? `${line.run.arm}, lr ${lrText(line.run.lr)}, mean of ${line.count} seeds` : line.run.words}\n${short(line.x[i], 6)} ${X_NAMES[c.x]}: ${short(line.y[i], 5)} nats`;
    tip.style.left = `${Math.max(0, Math.min(x + 14, canvas.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(0, y - tip.offsetHeight - 10)}px`;
  }
  const swatch = (name) => svg("svg", { width: 22, height: 10, "aria-hidden": "true" }, svg("line", { x1: 1, x2: 21, y1: 5, y2: 5, stroke: armColour(name), "stroke-width": 3, "stroke-dasharray": dashOf(name) || null }));
  const mark = (name, x, y, fill = armColour(name)) => svg("path", { class: "mark", d: arms.get(name).marker, transform: `translate(${x} ${y})`, fill, stroke: armColour(name), "stroke-width": 1.6 });
  function chips(place, values, off, label) {
    put(place, ...values.map((value) => {
      const chip = el("button", { type: "button", class: "chip", "aria-pressed": String(!off.has(value)), onclick: () => { if (off.has(value)) off.delete(value); else off.add(value); chip.setAttribute("aria-pressed", String(!off.has(value))); collect(); soon(); note(); } });
      chip.append(...label(value));
      return chip;
    }));
  }
  function syncCurves() {
    const here = inCell(c.cell), lrs = [...new Set(here.map((run) => run.lr))].sort((a, b) => a - b);
    if (!["best", "all"].includes(c.lr) && !lrs.some((lr) => sameLr(lr, Number(c.lr)))) c.lr = "best";
    if (lrs.length === 1) c.lr = "all";
    options($("#c-lr"), lrs.length > 1 ? [["best", "best of each arm"], ["all", "all, tuning runs too"], ...lrs.map((lr) => [String(lr), lrText(lr)])] : [["all", lrText(lrs[0])]], c.lr);
    $("#c-cell").value = String(c.cell);
    $("#c-lr").value = c.lr;
    $("#c-series").value = c.series;
    $("#c-x").value = String(c.x);
    $("#c-smooth").value = c.smooth;
    $("#c-smooth-out").textContent = c.smooth ? `${2 * c.smooth + 1} points` : "off";
    $("#c-logx").checked = c.logx;
    $("#c-logy").checked = c.logy;
    $("#c-mean").checked = c.mean;
    chips($("#c-arms"), data.arms.map((arm) => arm.name).filter((name) => here.some((run) => run.arm === name)), c.armsOff, (name) => [swatch(name), name]);
    chips($("#c-seeds"), seedsOf(here.filter((run) => lrFits(run) && isFresh(run))), c.seedsOff, (seed) => [`seed ${seed}`]);
    collect();
    soon();
  }
  function note() {
    // The view is in the address, so that it can be passed on.
    const parts = { cell: c.cell, lr: c.lr, series: c.series, x: X_NAMES[c.x], smooth: c.smooth, logx: +c.logx, logy: +c.logy, mean: +c.mean, armsoff: [...c.armsOff].join("+"), seedsoff: [...c.seedsOff].join("+") };
    try { history.replaceState(null, "", "#curves&" + Object.entries(parts).filter(([, v]) => v !== "").map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join("&")); } catch { /* not allowed for every file */ }
  }
  const onChange = (selector, act, keepZoom) => $(selector).addEventListener("input", (event) => { act(event.target); if (!keepZoom) zoomReset(); syncCurves(); note(); });
  onChange("#c-cell", (t) => { c.cell = Number(t.value); c.seedsOff = new Set(); c.armsOff = new Set(); });
  onChange("#c-lr", (t) => { c.lr = t.value; });
  onChange("#c-series", (t) => { c.series = t.value; });
  onChange("#c-x", (t) => { c.x = Number(t.value); });
  onChange("#c-smooth", (t) => { c.smooth = Number(t.value); }, true);
  onChange("#c-logx", (t) => { c.logx = t.checked; });
  onChange("#c-logy", (t) => { c.logy = t.checked; });
  onChange("#c-mean", (t) => { c.mean = t.checked; }, true);
  $("#c-png").addEventListener("click", () => {
    const copy = el("canvas", { width: canvas.width, height: canvas.height }), pen = copy.getContext("2d");
    pen.fillStyle = colour("--card");
    pen.fillRect(0, 0, copy.width, copy.height);
    pen.drawImage(canvas, 0, 0);
    copy.toBlob((blob) => save("loss_curves.png", [blob], "image/png"));
  });
  function startCurves() {
    $("#curves").hidden = false;
    options($("#c-cell"), [...data.cells.map((name, i) => [String(i), name]), ...(data.cells.length > 1 ? [["-1", "all settings"]] : [])], String(c.cell));
    syncCurves();
    redraws.push(() => { $$("#c-arms .chip").forEach((chip) => chip.firstChild.firstChild.setAttribute("stroke", armColour(chip.textContent))); if (printing) drawCurves(); else soon(); });
    new ResizeObserver(soon).observe(plot);
  }

  // ---- forest plot ---------------------------------------------------------------------------------------------------------------
  const FOREST = {
    grid: { name: "score, percentage points", axis: "difference in score, percentage points (higher is better)", zero: 0, sign: 1, value: "difference", keep: () => true, label: (p, r) => p.get(r, "benchmark") },
    losses: { name: "held-out loss, nats", axis: "difference in held-out loss, nats per token (lower is better)", zero: 0, sign: -1, value: "difference", keep: (p, r) => p.get(r, "measure") === "report_loss", label: () => "held-out loss" },
    convergence: { name: "speed-up to 90% of the drop, in steps", axis: "times as fast, in steps (above 1: the arm is sooner)", zero: 1, sign: 1, log: true, value: "speedup", keep: (p, r) => p.num(r, "q") === 0.9 && p.get(r, "unit") === "steps", label: (p, r) => ({ exact: "steps", none: "not known" })[p.get(r, "bound")] || p.get(r, "bound") },
  };
  function forestRows() {
    const measure = $("#forest-measure").value, how = FOREST[measure], p = parsed(measure), key = $("#forest-contrast").value;
    const found = p.records.filter((r) => keyOf(p, r) === key && how.keep(p, r) && p.get(r, "longest") !== "False").map((r) => ({
      label: how.label(p, r), group: `${p.get(r, "model")}${p.get(r, "rank") === "0" ? "" : ` r${p.get(r, "rank")}`}${p.get(r, "setting") ? `, ${p.get(r, "setting")}` : ""}`, value: p.num(r, how.value), low: p.num(r, "low"), high: p.num(r, "high"), verdict: p.get(r, "verdict"), note: p.get(r, "note"), arm: p.get(r, "arm"), text: shownText(measure, r, how.value), lowText: shownText(measure, r, "low"), highText: shownText(measure, r, "high"),
    }));
    return $("#forest-order").value === "size" ? found.sort((a, b) => (Number.isNaN(a.value) - Number.isNaN(b.value)) || b.value - a.value) : found;
  }
  function drawForest() {
    const place = $("#forest"), rows = forestRows(), how = FOREST[$("#forest-measure").value];
    const width = Math.max(place.clientWidth, 280), bySize = $("#forest-order").value === "size", wide = width > 640;
    const labelWidth = Math.min(wide ? (bySize ? 330 : 240) : 118, width * 0.42), numberWidth = wide ? 172 : 8, left = labelWidth + 8, right = width - numberWidth - 8;
    const ink = printing ? "#000" : colour("--ink"), quiet = printing ? "#444" : colour("--quiet"), faint = printing ? "#ddd" : colour("--line"), card = printing ? "#fff" : colour("--card"), font = colour("--sans");
    const known = rows.flatMap((r) => [r.value, r.low, r.high]).filter((v) => Number.isFinite(v) && (!how.log || v > 0));
    if (!known.length) { put(place, el("p", { class: "quiet" }, rows.length ? "Nothing of this comparison has this measure yet." : "This comparison does not have this measure.")); $("#forest-note").textContent = ""; return; }
    const f = (v) => (how.log ? Math.log(v) : v), reach = Math.max(...known.map((v) => Math.abs(f(v) - f(how.zero)))) * 1.08 || 1;
    const x = (v) => left + (Math.min(Math.max(how.sign * (f(v) - f(how.zero)) / reach, -1), 1) + 1) / 2 * (right - left);
    const step = 22, parts = [];
    let y = rows.length > 25 ? 42 : 24, last = null, band = 0;
    const above = y;
    const text = (attributes, content) => svg("text", { "font-family": font, "font-size": 12, fill: quiet, ...attributes }, content);
    const cut = (words, room) => { const most = Math.floor(room / 6.3); return words.length > most ? words.slice(0, Math.max(most - 1, 3)) + "…" : words; };
    for (const row of rows) {
      if (!bySize && row.group !== last) { y += last === null ? 8 : 24; parts.push(text({ x: 0, y, fill: ink, "font-weight": 600 }, cut(row.group, width))); y += 8; last = row.group; band = 0; }
      y += step;
      const middle = y - 8, tint = armColour(row.arm), firm = !["unresolved", "no verdict", "equal", "not enough runs"].includes(row.verdict);
      const told = `${row.group}, ${row.label}: ${Number.isNaN(row.value) ? "no value" : row.text}${Number.isNaN(row.low) ? "" : `, 95% interval ${row.lowText} to ${row.highText}`}, ${row.verdict}${row.note ? ` (${row.note})` : ""}`;
      const group = svg("g", { role: "listitem" }, svg("title", {}, told));
      if (band++ % 2 === 0) group.append(svg("rect", { x: 0, y: middle - step / 2, width, height: step, fill: faint, opacity: 0.35 }));
      group.append(text({ x: bySize ? 0 : 10, y: middle + 4 }, cut(bySize ? `${row.group}, ${row.label}` : row.label, labelWidth - (bySize ? 0 : 10))));
      if (!Number.isNaN(row.low)) group.append(svg("line", { x1: x(row.low), x2: x(row.high), y1: middle, y2: middle, stroke: tint, "stroke-width": 2 }));
      if (!Number.isNaN(row.value)) group.append(svg("circle", { cx: x(row.value), cy: middle, r: 5, fill: firm ? tint : card, stroke: tint, "stroke-width": 2 }));
      else group.append(text({ x: (left + right) / 2, y: middle + 4, "text-anchor": "middle", "font-style": "italic", stroke: card, "stroke-width": 4, "paint-order": "stroke" }, cut(row.note || "no value", right - left)));
      if (wide && !Number.isNaN(row.value)) group.append(text({ x: right + 62, y: middle + 4, "text-anchor": "end" }, row.text), text({ x: right + 74, y: middle + 4, fill: firm ? ink : quiet }, row.verdict));
      parts.push(group);
    }
    const bottom = y + 6, reachTicks = how.log ? logTicks(Math.exp(f(how.zero) - reach), Math.exp(f(how.zero) + reach), 5) : niceTicks(how.zero - reach, how.zero + reach, right - left < 260 ? 4 : 7);
    parts.unshift(svg("line", { x1: x(how.zero), x2: x(how.zero), y1: above - 4, y2: bottom, stroke: ink, "stroke-dasharray": "3 3" }));
    const axis = [svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, stroke: quiet })];
    for (const t of reachTicks) axis.push(svg("line", { x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4, stroke: quiet }), text({ x: x(t), y: bottom + 18, "text-anchor": "middle" }, how.log ? tickText(t) : signedText(t)));
    if (rows.length > 25) for (const t of reachTicks) axis.push(text({ x: x(t), y: 11, "text-anchor": "middle" }, how.log ? tickText(t) : signedText(t)));
    const [arm, reference] = $("#forest-contrast").value.split("|")[0].split(" vs "), half = (right - left) / 2 - 8, favours = wide ? "favours " : "";
    for (const [words, side] of [[`← ${favours}${reference}`, -1], [`${favours}${arm} →`, 1]]) axis.push(text({ x: x(how.zero) + 8 * side, y: rows.length > 25 ? 29 : 11, "text-anchor": side < 0 ? "end" : "start" }, cut(words, half)));
    const caption = wide ? how.axis : how.name;
    axis.push(text({ x: wide ? (left + right) / 2 : width / 2, y: bottom + 36, "text-anchor": "middle" }, caption));
    const height = bottom + 46;
    const contrast = keyWords($("#forest-contrast").value);
    put(place, svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, role: "list", "aria-label": `${contrast}, ${how.name}: ${plural(rows.length, "row")}` }, ...parts, ...axis));
    place.dataset.rows = rows.length;
    const tally = new Map();
    rows.forEach((row) => tally.set(row.verdict, (tally.get(row.verdict) || 0) + 1));
    $("#forest-note").textContent = `${contrast}: ${[...tally].map(([verdict, count]) => `${count} ${verdict}`).join(", ")}. The numbers stand in the tables below.`;
  }
  function startForest() {
    const keys = [...new Set(Object.keys(FOREST).flatMap((name) => { const p = parsed(name); return p.records.map((r) => keyOf(p, r)); }))];
    if (!keys.length) return;
    $("#differences").hidden = false;
    options($("#forest-contrast"), keys.map((key) => [key, keyWords(key)]), keys[0]);
    options($("#forest-measure"), Object.entries(FOREST).filter(([name, how]) => { const p = parsed(name); return p.records.some((r) => how.keep(p, r)); }).map(([name, how]) => [name, how.name]), "grid");
    ["#forest-contrast", "#forest-measure", "#forest-order"].forEach((selector) => $(selector).addEventListener("input", drawForest));
    $("#forest-svg").addEventListener("click", () => saveSvg("differences", $("#forest svg")));
    redraws.push(drawForest);
    watchWidth($("#forest"), drawForest);
  }
  function watchWidth(place, draw) {
    let width = 0;
    new ResizeObserver(() => { if (place.clientWidth !== width) { width = place.clientWidth; draw(); } }).observe(place);
  }
  function saveSvg(name, drawing) {
    if (!drawing) return;
    const copy = drawing.cloneNode(true);
    copy.prepend(svg("rect", { width: "100%", height: "100%", fill: colour("--card") }));
    save(`${name}.svg`, [new XMLSerializer().serializeToString(copy)], "image/svg+xml");
  }

  // ---- learning rates ------------------------------------------------------------------------------------------------------------
  const METRICS = { tune: ["tuning criterion (as a loss)", "tuning criterion as a loss, nats (lower is better)", 3], report_loss: ["held-out loss", "held-out loss, nats per token (lower is better)", 3], score: ["score", "score, percent, mean over benchmarks (higher is better)", 1] };
  const STACK = 13;
  function drawRates() {
    const place = $("#r-plot"), cell = Number($("#r-cell").value), metric = $("#r-metric").value, [, axisWords, digits] = METRICS[metric];
    const points = rates.filter((r) => r.cell === cell), known = points.filter((r) => Number.isFinite(r[metric]));
    const ink = printing ? "#000" : colour("--ink"), quiet = printing ? "#444" : colour("--quiet"), faint = printing ? "#ddd" : colour("--line"), card = printing ? "#fff" : colour("--card"), font = colour("--sans");
    const names = data.arms.map((arm) => arm.name).filter((name) => points.some((r) => r.arm === name));
    put($("#r-legend"), ...names.map((name) => { const sample = swatch(name); sample.append(mark(name, 11, 5)); sample.setAttribute("height", 14); sample.setAttribute("viewBox", "0 -2 22 14"); return el("li", {}, sample, name); }));
    if (!known.length) { put(place, el("p", { class: "quiet" }, "Nothing of this setting has this figure yet.")); $("#r-note").textContent = ""; return; }
    const values = known.map((r) => r[metric]), lrs = points.map((r) => r.lr), lo = Math.log(Math.min(...lrs)) - 0.35, hi = Math.log(Math.max(...lrs)) + 0.35;
    let y0 = Math.min(...values), y1 = Math.max(...values);
    // A few losses far above would flatten all others: from four times as far above the least as three quarters of them are, a triangle stands for them.
    const rising = [...values].sort((a, b) => a - b), far = metric === "score" ? Infinity : y0 + 4 * (rising[Math.floor(0.75 * (rising.length - 1))] - y0), isFar = (r) => r[metric] > far;
    if (y1 > far) y1 = Math.max(...values.filter((v) => v <= far));
    const pad = (y1 - y0) * 0.08 || Math.abs(y1) * 0.02 || 1;
    y0 -= pad; y1 += pad;
    // What has no place on the axis stands above it at its own rate, a line an arm.
    const beyond = names.filter((name) => points.some((r) => r.arm === name && (r.diverged || isFar(r))));
    const width = Math.max(place.clientWidth, 280), left = 58, right = width - 16, top = 46, edge = top + STACK * beyond.length, height = 340 + STACK * beyond.length, bottom = height - 46;
    const x = (lr) => left + (Math.log(lr) - lo) / (hi - lo) * (right - left), y = (v) => bottom - (v - y0) / (y1 - y0) * (bottom - edge);
    const text = (attributes, content) => svg("text", { "font-family": font, "font-size": 12, fill: quiet, ...attributes }, content);
    const parts = [];
    for (const t of niceTicks(y0, y1, 6)) parts.push(svg("line", { x1: left, x2: right, y1: y(t), y2: y(t), stroke: faint }), text({ x: left - 7, y: y(t) + 4, "text-anchor": "end" }, tickText(t)));
    let last = -Infinity;
    for (const lr of [...new Set(lrs)].sort((a, b) => a - b)) if (x(lr) - last > 54) { last = x(lr); parts.push(text({ x: x(lr), y: bottom + 18, "text-anchor": "middle" }, lrText(lr))); }
    parts.push(svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, stroke: quiet }), text({ x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle" }, "learning rate (log axis)"));
    parts.push(text({ x: 4, y: 14 }, axisWords));
    if (data.shared_lr) parts.push(svg("line", { x1: x(data.shared_lr), x2: x(data.shared_lr), y1: top, y2: bottom, stroke: ink, "stroke-dasharray": "3 3" }), text({ x: x(data.shared_lr), y: top - 5, fill: ink, "text-anchor": "middle" }, "shared lr"));
    const most = Math.max(...known.map((r) => r.runs[metric])), few = known.filter((r) => r.runs[metric] < most);
    const sign = (d, r, told) => svg("path", { class: "beyond", d, transform: `translate(${x(r.lr)} ${top + STACK * (beyond.indexOf(r.arm) + 0.5)})`, fill: "none", stroke: armColour(r.arm), "stroke-width": 2.2 }, svg("title", {}, told));
    for (const name of names) {
      const mine = points.filter((r) => r.arm === name).sort((a, b) => a.lr - b.lr), there = mine.filter((r) => Number.isFinite(r[metric]) && !isFar(r)), tint = armColour(name);
      parts.push(svg("polyline", { points: there.map((r) => `${x(r.lr).toFixed(1)},${y(r[metric]).toFixed(1)}`).join(" "), fill: "none", stroke: tint, "stroke-width": 2, "stroke-dasharray": dashOf(name) || null }));
      for (const r of mine) {
        const told = `${name}, lr ${lrText(r.lr)}: ${Number.isFinite(r[metric]) ? minus(r[metric].toFixed(digits)) : "no value"}, ${plural(r.runs[metric], "run")}${r.diverged ? `, ${r.diverged} diverged` : ""}${r.best ? ", best by the criterion" : ""}${r.edge ? `, the ${r.edge === "low" ? "lowest" : "highest"} rate tried` : ""}`;
        if (isFar(r)) parts.push(sign("M-5 4L0 -5L5 4Z", r, told));
        else if (Number.isFinite(r[metric])) {
          if (r.best) parts.push(svg("line", { x1: x(r.lr), x2: x(r.lr), y1: y(r[metric]), y2: bottom, stroke: tint, "stroke-dasharray": "2 4" }), svg("circle", { cx: x(r.lr), cy: y(r[metric]), r: 9, fill: "none", stroke: tint, "stroke-width": 2 }));
          const point = mark(name, x(r.lr), y(r[metric]), r.runs[metric] < most ? card : tint);
          point.append(svg("title", {}, told));
          parts.push(point);
        }
        if (r.diverged) parts.push(sign("M-4 -4L4 4M-4 4L4 -4", r, told));
      }
    }
    const best = points.filter((r) => r.best).map((r) => `${r.arm} ${lrText(r.lr)}${r.edge ? " (at an edge of what was tried)" : ""}`).join(", ");
    put(place, svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${axisWords} against learning rate, ${data.cells[cell]}. Best: ${best || "none"}. All points stand in the table Learning rates.` }, ...parts));
    place.dataset.points = known.length;
    const range = [...new Set(few.map((r) => r.runs[metric]))].sort((a, b) => a - b);
    $("#r-note").textContent = `Ring: best by ${points[0].criterion.replace(/_/g, " ")}, the criterion of the choice${best ? `: ${best}` : ""}.${range.length ? ` Hollow: mean of ${range.length > 1 ? `${range[0]} to ${range[range.length - 1]}` : plural(range[0], "run")}; filled: of ${most}.` : ""}${points.some((r) => r.diverged) ? " Cross above the axis: runs diverged at that rate." : ""}${known.some(isFar) ? " Triangle: far above." : ""}${data.shared_lr ? " Dashed line: the shared learning rate." : ""}`;
  }
  function startRates() {
    $("#rates").hidden = false;
    const many = data.cells.map((name, cell) => [cell, name]).filter(([cell]) => rates.some((r) => r.cell === cell && rates.some((o) => o.cell === cell && o.arm === r.arm && o.lr !== r.lr)));
    $("#rates-none").hidden = many.length > 0;
    $("#rates-card").hidden = !many.length;
    if (!many.length) return;
    options($("#r-cell"), many.map(([cell, name]) => [String(cell), name]), String(many[0][0]));
    options($("#r-metric"), Object.entries(METRICS).filter(([key]) => rates.some((r) => Number.isFinite(r[key]))).map(([key, [name]]) => [key, name]), "tune");
    ["#r-cell", "#r-metric"].forEach((selector) => $(selector).addEventListener("input", drawRates));
    $("#rates-svg").addEventListener("click", () => saveSvg("learning_rates", $("#r-plot svg")));
    redraws.push(drawRates);
    watchWidth($("#r-plot"), drawRates);
  }

  // ---- address -------------------------------------------------------------------------------------------------------------------
  // #anchor&key=value...: theme, the curves' view, run (opens a run), table (opens a table), sort and filter of it.
  function fromAddress() {
    const [anchor, ...pairs] = location.hash.slice(1).split("&");
    const asked = new Map(pairs.map((pair) => { const [key, value = ""] = pair.split("="); let text = value; try { text = decodeURIComponent(value); } catch { /* as it is */ } return [key, text]; }));
    if (asked.has("theme")) setTheme(asked.get("theme") === "dark" ? "dark" : "light");
    const number = (key, low, high) => { const value = Number(asked.get(key)); return asked.get(key) !== "" && Number.isFinite(value) ? Math.min(Math.max(value, low), high) : low; };
    if (asked.has("cell")) c.cell = Math.round(number("cell", -1, data.cells.length - 1));
    if (asked.has("lr")) c.lr = asked.get("lr");
    if (["train", "tune", "report"].includes(asked.get("series"))) c.series = asked.get("series");
    if (X_NAMES.includes(asked.get("x"))) c.x = X_NAMES.indexOf(asked.get("x"));
    if (asked.has("smooth")) c.smooth = Math.round(number("smooth", 0, 25));
    for (const key of ["logx", "logy", "mean"]) if (asked.has(key)) c[key] = asked.get(key) === "1";
    if (asked.has("armsoff")) c.armsOff = new Set(asked.get("armsoff").split("+").filter(Boolean));
    if (asked.has("seedsoff")) c.seedsOff = new Set(asked.get("seedsoff").split("+").filter(Boolean).map(Number));
    if ([...asked.keys()].some((key) => key !== "theme")) { zoomReset(); syncCurves(); }
    if (asked.has("table")) { const table = document.getElementById(`table-${asked.get("table")}`); if (table) { table.open = true; table.scrollIntoView(); } }
    if (runById.has(asked.get("run")) && !$("#run").open) openRun(asked.get("run"));
    const part = pairs.length && anchor ? document.getElementById(anchor) : null;
    if (part) requestAnimationFrame(() => requestAnimationFrame(() => part.scrollIntoView({ behavior: "instant" }))); // once charts have their heights
  }

  if (recall("olora_bench.theme")) document.documentElement.dataset.theme = recall("olora_bench.theme");
  nameTheme();
  startForest();
  startCurves();
  startRates();
  fromAddress();
  addEventListener("hashchange", fromAddress);
  drawCurves();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
})();
