// The mesh, measured again and again, and packets as they happen. All text is set as text.
"use strict";

const MOST_LINES = 100; // packets, in the list and waiting; debug/web/packets.py keeps as many
const OUTCOMES = { arrived: "ok", dropped: "fail", unknown: "unknown" };

let measuring = null; // an EventSource while the mesh is measured

function measure() {
  if (measuring) return stopMeasuring("");
  measuring = new EventSource("/mesh");
  $("measure").textContent = "Stop measuring";
  $("measure").setAttribute("aria-pressed", "true");
  $("mesh-state").textContent = "Measuring …";
  measuring.addEventListener("mesh", (event) => showMesh(JSON.parse(event.data)));
  measuring.addEventListener("error", () => stopMeasuring("✗ podwire web does not answer"));
}

function stopMeasuring(why) {
  measuring.close();
  measuring = null;
  $("measure").textContent = "Measure";
  $("measure").setAttribute("aria-pressed", "false");
  $("mesh-state").textContent = why || "Not measured any more.";
}

function showMesh(mesh) {
  const lines = (mesh.problems ?? []).map(([level, text]) => make("p", `${MARKS[level]} ${text}`, level));
  const unread = (mesh.unread ?? []).map((text) => make("p", `? ${text}`, "unknown"));
  const when = mesh.taken ? new Date(mesh.taken).toLocaleTimeString() : "";
  $("mesh-state").textContent = mesh.fault ? `✗ Nothing newer can be measured: ${mesh.fault}`
    : lines.length ? `Measured at ${when}: not all is well` : `Measured at ${when}: all is well`;
  $("mesh-body").replaceChildren(...(mesh.tables ?? []).map(meshTable), ...lines, ...unread);
}

function meshTable({ title, places, cells }) {
  const made = make("table"), head = make("tr"), around = make("div", undefined, "scroll");
  const found = new Map(cells.map((cell) => [`${cell.source}\n${cell.destination}`, cell]));
  made.append(make("caption", title), make("thead"), make("tbody"));
  for (const name of ["From \\ to", ...places]) head.append(headed(name, "col"));
  made.tHead.append(head);
  for (const source of places) {
    const row = make("tr");
    row.append(headed(source, "row"));
    for (const destination of places) {
      const cell = found.get(`${source}\n${destination}`);
      row.append(cell ? make("td", `${MARKS[cell.level]} ${cell.text}`, cell.level) : make("td", "–"));
    }
    made.tBodies[0].append(row);
  }
  around.append(made);
  return around;
}

function headed(text, scope) {
  const cell = make("th", text);
  cell.scope = scope;
  return cell;
}

let listening = null; // an EventSource while packets are heard
let paused = false;
let waiting = []; // lines that came while it was paused, the latest last
let missed = 0, count = 0;

function listen(event) {
  event?.preventDefault(); // a form would load the page anew
  if (listening) stop("");
  listening = new EventSource(`/packets?filter=${encodeURIComponent($("filter").value)}`);
  missed = count = 0;
  $("live-notes").replaceChildren();
  $("packets").replaceChildren();
  for (const id of ["pause", "stop"]) $(id).disabled = false;
  say("Listening …");
  listening.addEventListener("packets", (found) => hear(JSON.parse(found.data)));
  listening.addEventListener("error", () => stop("✗ podwire web does not answer"));
}

function say(text, sort) {
  $("live-state").textContent = text;
  $("live-state").className = sort ?? "";
}

function hear(batch) {
  missed += batch.missed ?? 0;
  count += (batch.packets ?? []).length;
  for (const note of batch.notes ?? []) $("live-notes").append(make("li", note));
  waiting = [...waiting, ...(batch.packets ?? [])].slice(-MOST_LINES);
  if (!paused) showWaiting();
  tell();
  if (batch.end) stop(batch.end);
}

function tell() {
  $("pause").textContent = paused ? `Go on (${waiting.length} came)` : "Pause";
  const also = missed ? `; ${missed} more came too fast to be shown` : "";
  const some = count ? `${count} packets${count > MOST_LINES ? `, of which the last ${MOST_LINES} are kept` : ""}` : "No packet yet";
  if (listening) say(`${paused ? "Paused" : "Listening"}. ${some}${also}`);
}

function showWaiting() {
  const focused = document.activeElement?.closest("#packets") ? document.activeElement : null;
  for (const one of waiting) $("packets").prepend(lineOf(one));
  waiting = [];
  while ($("packets").childElementCount > MOST_LINES) $("packets").lastElementChild.remove();
  if (focused && !focused.isConnected) $("packets").querySelector("button")?.focus();
}

function lineOf(packet) {
  const level = OUTCOMES[packet.outcome] ?? "unknown", line = make("li"), button = make("button");
  const why = packet.why ? `: ${packet.why}` : "";
  button.type = "button";
  const [name, ...rest] = packet.name.split(" ("), key = rest.length ? `(${rest.join(" (")}` : "";
  const when = packet.time === undefined ? "" : `+${(packet.time / 1000).toFixed(3)} s`;
  button.append(
    make("strong", `${MARKS[level]} ${name}`, level),
    make("span", `${packet.outcome} at ${packet.where}${why}`),
    make("span", packet.way.join(" → ")),
    make("span", `${when} ${key}`, "dim"),
  );
  button.addEventListener("click", () => open({ kind: "packet", name, number: packet.number, by: button }));
  line.append(button);
  return line;
}

function pause() {
  paused = !paused;
  if (!paused) showWaiting();
  tell();
}

function stop(why) {
  listening.close();
  listening = null;
  paused = false;
  showWaiting();
  tell();
  for (const id of ["pause", "stop"]) $(id).disabled = true;
  say(why ? `Stopped: ${why}` : "Stopped.", why ? "warn" : "");
}

async function begin() {
  const { mesh, live } = await (await fetch("/about")).json();
  $("mesh").hidden = !mesh;
  $("live").hidden = live === null;
  $("filter").value = live ?? "";
  if (live) listen();
}

$("measure").addEventListener("click", measure);
$("listen").addEventListener("submit", listen);
$("pause").addEventListener("click", pause);
$("stop").addEventListener("click", () => stop(""));
document.addEventListener("visibilitychange", () => {
  if (document.hidden && measuring) stopMeasuring("Not measured any more: the page was hidden.");
});
begin();
