// Follows the cluster by server-sent events, and draws what comes. All text is set as text.
"use strict";

const NODE = 296; // pixels of a node with its gutter, as debug/map/layout.py has them
const MARKS = { ok: "●", unknown: "?", warn: "!", fail: "✗" };
const WORDS = { ok: "All is well", unknown: "Nothing wrong is found; not all is known", warn: "Something needs a look", fail: "Something is broken" };
const $ = (id) => document.getElementById(id);
let scene = null;
let opened = null; // {kind, name, by}: by is the selector of what to focus again

function make(tag, text, sort) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (sort) made.className = sort;
  return made;
}

function columns() {
  return Math.max(1, Math.min(20, Math.floor((window.innerWidth - 78) / NODE)));
}

async function svgOf(answer) {
  const parsed = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
  return document.importNode(parsed.documentElement, true);
}

async function drawMap() {
  const answer = await fetch(`/map.svg?columns=${columns()}`);
  if (!answer.ok) return;
  const drawn = await svgOf(answer);
  const focused = document.activeElement?.dataset?.place;
  $("map").replaceChildren(drawn);
  if (focused) place(focused)?.focus();
}

function place(name) {
  return [...document.querySelectorAll("#map [data-place]")].find((one) => one.dataset.place === name);
}

function drawProblems() {
  const lines = (scene.problems ?? []).map((one) => make("li", `${MARKS[one.level]} ${one.text}`, one.level));
  for (const text of scene.graph.unread ?? []) lines.push(make("li", `? not read: ${text}`, "unknown"));
  $("problems").replaceChildren(...(lines.length ? lines : [make("li", "None.")]));
}

function drawServices() {
  const known = [...$("services").querySelectorAll("button")].map((one) => one.textContent);
  const names = scene.services ?? [];
  if (known.join() === names.join()) return; // what has the focus keeps it
  $("services").replaceChildren(...names.map((name) => {
    const item = make("li"), button = make("button", name);
    button.type = "button";
    button.addEventListener("click", () => open({ kind: "service", name, by: button }));
    item.append(button);
    return item;
  }));
}

function table(titles, rows) {
  const made = make("table"), head = make("tr"), around = make("div", undefined, "scroll");
  for (const title of titles) {
    const cell = make("th", title);
    cell.scope = "col";
    head.append(cell);
  }
  made.append(make("thead"), make("tbody"));
  made.tHead.append(head);
  for (const row of rows) {
    const line = make("tr", undefined, row.sort);
    for (const cell of row.cells) line.append(make("td", cell));
    made.tBodies[0].append(line);
  }
  around.append(made);
  return around;
}

const percent = (share) => `${Math.round((share ?? 0) * 100)} %`;
const sum = (counts) => Object.values(counts ?? {}).reduce((one, other) => one + other, 0);

function portOf(port) {
  const parts = [make("h3", `${port.port}/${port.protocol} ${port.name ?? ""}`), make("p", port.addresses.join(", "))];
  const endpoints = port.endpoints ?? [];
  const nodes = Object.keys(endpoints[0]?.shares ?? {});
  if (endpoints.length) {
    parts.push(table(
      ["Endpoint", "Pod", "Node", "State", ...nodes.map((node) => `From ${node}`), "Connections"],
      endpoints.map((one) => ({
        sort: (one.state ?? "ready") === "ready" ? "" : "warn",
        cells: [one.address, one.pod ?? "", one.node ?? "", one.state ?? "ready",
          ...nodes.map((node) => percent(one.shares[node])),
          one.connections ? String(sum(one.connections)) : "not known"],
      })),
    ));
  }
  for (const [node, how] of Object.entries(port.refused ?? {}))
    parts.push(make("p", `✗ connections from ${node} are ${how}: no endpoint is for them`, "fail"));
  return parts;
}

async function serviceBody({ name }) {
  const answer = await fetch(`/service?name=${encodeURIComponent(name)}`);
  const found = await answer.json();
  if (found.error) return [make("p", `✗ ${found.error}`, "fail")];
  const notes = [...(found.notes ?? []), ...(found.unread ?? [])].map((note) => make("p", `! ${note}`, "warn"));
  return [make("p", found.type), ...notes, ...(found.ports ?? []).flatMap(portOf)];
}

function placeBody({ name }) {
  const spot = scene.graph.places.find((one) => one.id === name);
  if (!spot) return [make("p", "It is gone.", "warn")];
  const rows = (spot.devices ?? []).map((one) => ({
    sort: one.level ?? "ok",
    cells: [`${MARKS[one.level ?? "ok"]} ${one.name}`, one.kind ?? "", (one.addresses ?? []).join(" "),
      String(one.mtu ?? ""), one.bridge ?? "", joined(name, one.name), (one.why ?? []).join("; ")],
  }));
  const whys = (spot.why ?? []).map((why) => make("p", why, spot.level));
  return [...whys, table(["Device", "Kind", "Addresses", "MTU", "Bridge", "Joined with", "Findings"], rows)];
}

function joined(name, device) {
  const ends = [];
  for (const { a, b } of scene.graph.cables ?? [])
    for (const [one, other] of [[a, b], [b, a]])
      if (one.place === name && one.device === device) ends.push(`${other.place} ${other.device ?? ""}`.trim());
  return [...new Set(ends)].join(", ");
}

const BODIES = { service: serviceBody, packet: packetBody };

async function packetBody(what) {
  const answer = await fetch(`/packet.svg?number=${what.number}&narrow=${isNarrow() ? "yes" : "no"}`);
  if (!answer.ok) return [make("p", `✗ ${await answer.text()}`, "fail")];
  const around = make("div", undefined, "scroll");
  around.append(await svgOf(answer));
  return [around];
}

async function open(what, focus = true) {
  opened = what;
  const body = await (BODIES[what.kind] ?? placeBody)(what);
  if (opened !== what) return; // another one was opened meanwhile
  $("detail-title").textContent = what.kind === "service" ? `Service ${what.name}` : what.name;
  $("detail-body").replaceChildren(...body);
  $("detail").hidden = false;
  if (focus) $("detail").focus();
}

function close() {
  const by = opened?.kind === "place" ? place(opened.name) : opened?.by;
  opened = null;
  $("detail").hidden = true;
  by?.focus();
}

async function show(next) {
  scene = next;
  const worst = (scene.problems ?? [])[0]?.level ?? "ok";
  const level = worst === "unknown" ? "ok" : worst; // on most machines some limit cannot be read
  $("state").textContent = scene.fault ? `✗ Nothing newer can be read: ${scene.fault}` : `${MARKS[level]} ${WORDS[worst]}`;
  $("state").className = scene.fault ? "fail" : level;
  drawProblems();
  drawServices();
  await drawMap();
  if (opened && opened.kind !== "packet") await open(opened, false); // a packet stays what it was
}

$("map").addEventListener("click", (event) => {
  const group = event.target.closest("[data-place]");
  if (group) open({ kind: "place", name: group.dataset.place });
});
$("map").addEventListener("keydown", (event) => {
  const group = event.target.closest("[data-place]");
  if (!group || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  open({ kind: "place", name: group.dataset.place });
});
$("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && opened) close();
});
const isNarrow = () => window.innerWidth < 700;

async function drawTrace() {
  const every = $("every").checked ? "yes" : "no", narrow = isNarrow() ? "yes" : "no";
  const answer = await fetch(`/trace.svg?every=${every}&narrow=${narrow}`);
  if (answer.status !== 200) return; // none was given
  $("lanes").replaceChildren(await svgOf(answer));
  $("trace").hidden = false;
}

const PACE = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 350; // ms from step to step
let playing = 0; // which play it is: a new one ends the one before

function play() {
  const steps = [...document.querySelectorAll("#lanes .step")];
  const mine = ++playing;
  for (const step of steps) step.classList.remove("on");
  $("lanes").firstElementChild.classList.add("playing");
  const show = (number) => {
    if (mine !== playing) return;
    const now = steps.filter((step) => step.dataset.step === String(number));
    for (const step of now) step.classList.add("on");
    now[0]?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (now.length) setTimeout(show, PACE, number + 1);
    else $("lanes").firstElementChild.classList.remove("playing");
  };
  show(0);
}

$("play").addEventListener("click", play);
$("every").addEventListener("change", drawTrace);
drawTrace();
let width = columns(), narrow = isNarrow();
window.addEventListener("resize", () => {
  if (scene && width !== columns()) {
    width = columns();
    drawMap();
  }
  if (narrow !== isNarrow()) {
    narrow = isNarrow();
    drawTrace();
  }
});

let events = null;

function follow() {
  events = new EventSource("/events");
  events.addEventListener("scene", (event) => show(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    $("state").textContent = "✗ podwire web does not answer: has it ended?";
    $("state").className = "fail";
  });
}

document.addEventListener("visibilitychange", () => { // a browser has six connections for all its tabs
  if (document.hidden) events.close();
  else follow();
});
follow();
