"use strict";

// All data is written with textContent, never as HTML. The server has bounded and escaped it.

const $ = (id) => document.getElementById(id);
const STATUSES = ["FAILED", "RUNNING", "COMPLETED", "CREATED", "CANCELED"];
const PROGRESS = ["COMPLETED", "FAILED", "CANCELED", "RUNNING", "CREATED"];
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

let page = 0;
let status = "";
let timer;
let request;
let shown; // the last answer
const rows = new Map(); // by stage number
const open = new Set();

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The CSS class of a status: letters only, since a status may be any text. */
const tone = (text) => text.toLowerCase().replace(/[^a-z]/g, "");

function words(text) {
  return text.charAt(0) + text.slice(1).toLowerCase();
}

function duration(ms) {
  if (ms === null) return "";
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function clock(ms) {
  const time = new Date(ms);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? time.toLocaleTimeString() : time.toLocaleString();
}

/** Credits with separators, unless they are too large or too exact for a number. */
const amount = (text) => (/^\d{1,15}$/.test(text) ? count(Number(text)) : text);

const count = (number) => number.toLocaleString("en-US");

// --- the run ---------------------------------------------------------------------------------------------

function drawFacts(answer) {
  const run = answer.run;
  const facts = [];
  if (run) {
    facts.push(["Credits", run.credits === null ? "unknown" : amount(run.credits), "credits"]);
    if (run.start !== null) facts.push(["Started", clock(run.start)]);
    const end = run.is_over ? run.end : answer.now;
    if (run.start !== null && end !== null) facts.push([run.is_over ? "Duration" : "Running for", duration(end - run.start)]);
    if (run.stages !== null) {
      const ended = ["COMPLETED", "FAILED", "CANCELED"].reduce((sum, each) => sum + (run.counts[each] ?? 0), 0);
      facts.push(["Stages", ended === run.stages ? count(ended) : `${count(ended)} of ${count(run.stages)} ended`]);
    }
  }
  facts.push(["Airflow task", `${answer.task.state ?? "not scheduled"}, try ${answer.task.try}`]);
  if (answer.source === "live") facts.push(["Read from", `White Rabbit, ${clock(answer.read_at)}, connection ${answer.connection}`]);
  if (answer.source === "xcom") facts.push(["Read from", `the task’s XCom of ${clock(answer.read_at)}`]);
  const list = $("facts");
  while (list.children.length > facts.length) list.lastChild.remove();
  facts.forEach(([name, value, className], number) => {
    if (!list.children[number]) {
      const fact = make("div");
      fact.append(make("dt"), make("dd"));
      list.append(fact);
    }
    const [term, text] = list.children[number].children;
    write(term, name);
    write(text, value);
    text.className = className ?? "";
  });
}

function drawNotes(notes) {
  const list = $("notes");
  if (list.children.length === notes.length && notes.every((note, n) => list.children[n].textContent === note)) return;
  list.replaceChildren(...notes.map((note) => make("li", "", note)));
}

function drawLive(text, isLive) {
  const live = $("live");
  live.classList.toggle("on", isLive);
  write(live, text);
}

function drawRun(answer) {
  const run = answer.run;
  write($("noun"), answer.noun);
  write($("id"), run?.id ?? answer.id);
  $("status").hidden = !run;
  if (run) {
    write($("status"), run.status);
    $("status").className = `status ${tone(run.status)}`;
  }
  const isLive = answer.source === "live" && answer.again !== null && !run.is_over;
  drawLive(isLive ? "Live" : "", isLive);
  drawFacts(answer);
  const canceled = run && (run.cancel_reason ?? (run.cancel_requested === null ? null : "no reason given"));
  $("reason").hidden = !canceled;
  if (canceled) write($("reason"), `Cancellation requested: ${canceled}`);
  drawNotes(answer.notes);
}

// --- the timeline ----------------------------------------------------------------------------------------

function drawFilters(run) {
  const rank = (name) => (STATUSES.includes(name) ? STATUSES.indexOf(name) : STATUSES.length);
  const counts = Object.entries(run.counts).sort(([a], [b]) => rank(a) - rank(b));
  const parts = PROGRESS.filter((name) => run.counts[name]).map((name) => [name, run.counts[name]]);
  parts.push(...counts.filter(([name]) => !PROGRESS.includes(name)));
  $("share").replaceChildren(...parts.map(([name, number]) => {
    const part = make("i", tone(name));
    part.style.flexGrow = number;
    return part;
  }));
  const wanted = [["", run.stages], ...counts];
  const filters = $("filters");
  while (filters.children.length > wanted.length) filters.lastChild.remove();
  wanted.forEach(([name, number], n) => {
    const button = filters.children[n] ?? filters.appendChild(make("button"));
    button.type = "button";
    button.className = name ? tone(name) : "all";
    button.setAttribute("aria-pressed", String(name === status));
    write(button, `${name ? words(name) : "All"} ${count(number)}`);
    button.onclick = () => {
      status = name;
      page = 0;
      refresh();
    };
  });
}

/** The time axis: from the start of the run to its end, or to now. */
function scale(answer) {
  const { run, now } = answer;
  const from = run.from ?? now;
  const to = Math.max(run.is_over ? (run.to ?? now) : Math.max(now, run.to ?? now), from + 1000);
  const length = to - from;
  const widest = $("ticks").clientWidth < 420 ? 4 : 8;
  const step = 1000 * (TICKS.find((each) => length / 1000 / each <= widest) ?? Math.ceil(length / 1000 / widest / 86400) * 86400);
  return { from, length, step, percent: (ms) => (100 * (ms - from)) / length };
}

function drawTicks({ length, step }) {
  const ticks = [];
  for (let at = 0; at < length * 0.96; at += step) {
    const tick = make("span", "", at === 0 ? "0" : duration(at).replace(/\.0 s| 0 s$| 0 min$/, (end) => (end === ".0 s" ? " s" : "")));
    tick.style.left = `${(100 * at) / length}%`;
    ticks.push(tick);
  }
  $("ticks").replaceChildren(...ticks);
}

function makeRow(number) {
  const item = make("li");
  const button = make("button", "row");
  button.type = "button";
  const cells = {
    module: make("span", "module"),
    word: make("span", "word"),
    track: make("span", "track"),
    duration: make("span", "number duration"),
    credits: make("span", "number credits"),
  };
  const name = make("span");
  const attempt = make("span", "attempt");
  cells.module.append(name, attempt);
  const bar = cells.track.appendChild(make("span", "bar"));
  button.append(...Object.values(cells));
  const why = make("div", "why");
  const detail = make("div", "detail");
  detail.id = `detail-${number}`;
  detail.hidden = true;
  button.setAttribute("aria-controls", detail.id);
  button.setAttribute("aria-expanded", "false");
  button.onclick = () => toggle(number);
  item.append(button, why, detail);
  return { item, button, ...cells, name, attempt, bar, why, detail };
}

function drawRow(stage, { from, length, step, percent }, now) {
  let row = rows.get(stage.number);
  if (!row) rows.set(stage.number, (row = makeRow(stage.number)));
  const before = row.stage;
  row.stage = stage;
  row.item.className = tone(stage.status);
  write(row.name, stage.module);
  row.module.title = stage.module;
  write(row.attempt, stage.attempt > 1 ? `attempt ${stage.attempt}` : "");
  write(row.word, words(stage.status));
  write(row.credits, stage.credits === null ? "" : `${stage.credits} credit${stage.credits === "1" ? "" : "s"}`);
  write(row.why, stage.error ?? "");
  row.why.hidden = !stage.error || open.has(stage.number);

  const isGoing = stage.start !== null && stage.end === null;
  const end = stage.end ?? (isGoing ? Math.max(now, stage.start) : null);
  const isEndAlone = stage.start === null && end !== null;
  row.bar.hidden = end === null;
  row.bar.classList.toggle("end-alone", isEndAlone);
  if (end !== null) {
    const start = stage.start ?? end;
    row.bar.style.left = `min(${percent(start)}%, 100% - 4px)`;
    row.bar.style.width = isEndAlone ? "" : `${(100 * (end - start)) / length}%`;
  }
  row.track.style.backgroundSize = `${(100 * step) / length}% 100%`;
  write(row.duration, stage.start === null || end === null ? "" : duration(end - stage.start));
  if (open.has(stage.number) && before && (before.status !== stage.status || before.attempt !== stage.attempt)) {
    showDetail(stage.number);
  }
  return row;
}

function drawTimeline(answer) {
  const run = answer.run;
  $("timeline").hidden = !run || run.stages === null || run.stages === 0;
  if ($("timeline").hidden) return;
  drawFilters(run);
  const scaled = scale(answer);
  drawTicks(scaled);
  const list = $("stages");
  const wanted = answer.stages.map((stage) => drawRow(stage, scaled, answer.now));
  const items = new Set(wanted.map((row) => row.item));
  for (const [number, row] of rows) {
    if (!items.has(row.item)) {
      row.item.remove();
      rows.delete(number);
      open.delete(number);
    }
  }
  // Rows that stay in place keep the focus.
  wanted.forEach((row, n) => {
    if (list.children[n] !== row.item) list.insertBefore(row.item, list.children[n] ?? null);
  });
  page = answer.page;
  $("pager").hidden = answer.pages < 2;
  $("previous").disabled = page === 0;
  $("next").disabled = page + 1 >= answer.pages;
  const last = answer.first + answer.stages.length - 1;
  write($("position"), `${count(answer.first)}–${count(last)} of ${count(answer.matching)}`);
}

// --- the output or the error of a stage ------------------------------------------------------------------

function toggle(number) {
  const row = rows.get(number);
  const isOpen = !open.has(number);
  if (isOpen) open.add(number);
  else open.delete(number);
  row.button.setAttribute("aria-expanded", String(isOpen));
  row.detail.hidden = !isOpen;
  row.why.hidden = !row.stage.error || isOpen;
  if (isOpen) showDetail(number);
}

async function showDetail(number) {
  const row = rows.get(number);
  const id = row.stage.id;
  if (!row.detail.hasChildNodes()) row.detail.append(make("p", "", "Loading …"));
  const parts = [];
  try {
    const stage = await ask(`stages/${number}`);
    if (rows.get(number)?.stage.id !== id) return;
    if (stage.id !== id) throw new Error("the run has changed, reload the page");
    parts.push(...documentOf("Error", stage.error), ...documentOf("Output", stage.output));
    if (stage.hidden) parts.push(make("p", "", "The task keeps no outputs in Airflow, so the page shows none."));
    else if (parts.length === 0) parts.push(make("p", "", "There is no output."));
    parts.push(make("p", "", `Stage ${id}`));
  } catch (error) {
    parts.push(make("p", "", `This cannot be shown: ${error.message}`));
  }
  row.detail.replaceChildren(...parts);
}

function documentOf(title, found) {
  if (!found) return [];
  const parts = [make("h3", "", title), make("pre", "", found.text)];
  if (found.cut) parts.push(make("p", "", `Only the first ${count([...found.text].length)} characters are shown.`));
  return parts;
}

// --- asking ----------------------------------------------------------------------------------------------

async function ask(path, signal) {
  const response = await fetch(path, { cache: "no-store", credentials: "same-origin", signal });
  if (response.ok) return response.json();
  const known = {
    401: "you are logged out of Airflow. Log in, then reload this page",
    403: "Airflow does not let you read the XComs of this DAG",
    404: "Airflow has no such task",
  };
  const error = new Error(known[response.status] ?? `Airflow answered ${response.status}`);
  error.isFinal = response.status in known;
  throw error;
}

async function refresh() {
  clearTimeout(timer);
  request?.abort();
  request = new AbortController();
  const { signal } = request;
  let seconds = null;
  try {
    const answer = await ask(`run?${new URLSearchParams({ page, status })}`, signal);
    shown = answer;
    drawRun(answer);
    drawTimeline(answer);
    seconds = answer.again;
  } catch (error) {
    if (signal.aborted) return;
    drawLive("", false);
    const why = error.isFinal ? error.message : "Airflow does not answer. Retrying";
    drawNotes([`${why.charAt(0).toUpperCase()}${why.slice(1)}.`]);
    seconds = error.isFinal ? null : 5;
  }
  // A hidden page does not poll.
  if (seconds !== null && !document.hidden) timer = setTimeout(refresh, 1000 * seconds);
}

function followTheme() {
  let theme = null;
  try {
    theme = localStorage.getItem("theme"); // Airflow's
  } catch {
    // The browser may block it.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function turn(pages) {
  page = Math.max(0, page + pages);
  refresh();
  $("filters").scrollIntoView({ block: "nearest" });
}

$("previous").onclick = () => turn(-1);
$("next").onclick = () => turn(1);
addEventListener("storage", followTheme);
addEventListener("resize", () => shown && drawTimeline(shown));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
followTheme();
refresh();
