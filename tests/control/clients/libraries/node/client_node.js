// @kubernetes/client-node: objects, watches, an informer, logs, commands, ports and metrics.
// Its argument is the folder of node_modules; PORT is that of an echo server in the Pod "web".

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PassThrough, Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const from = createRequire(`${process.argv[2]}/`);
const k8s = await import(pathToFileURL(from.resolve("@kubernetes/client-node")));
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const [namespace, name] = ["default", "a"];
const MAPS = "/api/v1/namespaces/default/configmaps";

const later = () => Promise.withResolvers();

function collect() {
  const parts = [];
  const stream = new Writable({ write: (chunk, _, done) => (parts.push(chunk), done()) });
  return { stream, text: () => Buffer.concat(parts).toString() };
}

async function drive() {
  const body = { metadata: { name, labels: { x: "y" } }, data: { k: "1" } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  assert(made.metadata.creationTimestamp instanceof Date);
  const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: "x=y", limit: 1 });
  assert.deepEqual(listed.items.map((item) => item.metadata.name), [name]);
  const read = await core.readNamespacedConfigMap({ name, namespace });
  read.data.k = "2";
  await core.replaceNamespacedConfigMap({ name, namespace, body: read });
  const stale = core.replaceNamespacedConfigMap({ name, namespace, body: made });
  await assert.rejects(stale, (err) => err.code === 409 && JSON.parse(err.body).reason === "Conflict");
  const patches = [
    [k8s.PatchStrategy.JsonPatch, [{ op: "add", path: "/data/j", value: "j" }]],
    [k8s.PatchStrategy.MergePatch, { data: { j: null, m: "m" } }],
    [k8s.PatchStrategy.StrategicMergePatch, { data: { m: null, s: "s" } }],
  ];
  for (const [media, patch] of patches) {
    const how = k8s.setHeaderOptions("Content-Type", media);
    await core.patchNamespacedConfigMap({ name, namespace, body: patch }, how);
  }
  const after = await core.readNamespacedConfigMap({ name, namespace });
  assert.deepEqual(after.data, { k: "2", s: "s" });
  return listed.metadata.resourceVersion;
}

async function driveAnyKind() {
  const spec = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace } };
  const apply = (data, manager, force) => {
    const media = k8s.PatchStrategy.ServerSideApply;
    return objects.patch({ ...spec, data }, undefined, undefined, manager, force, media);
  };
  assert.deepEqual((await apply({ p: "1" }, "me", false)).data, { k: "2", s: "s", p: "1" });
  const reason = (err) => JSON.parse(err.body).details.causes[0].reason;
  await assert.rejects(apply({ p: "2" }, "you", false), (err) => reason(err) === "FieldManagerConflict");
  assert.equal((await apply({ p: "2" }, "you", true)).data.p, "2");
  const found = await objects.list("v1", "ConfigMap", namespace, undefined, undefined, undefined, undefined, "x=y");
  assert.equal(found.items.length, 1);
  const custom = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "b", namespace } };
  const labels = { app: "b" };
  const template = { metadata: { labels }, spec: { containers: [{ name: "c", image: "i" }] } };
  await objects.create({ ...custom, spec: { selector: { matchLabels: labels }, template } });
  assert.equal((await objects.read(custom)).spec.replicas, 1);
  assert.equal((await objects.delete(custom)).status, "Success");
}

async function follow(since) {
  const seen = [], enough = later();
  const watch = new k8s.Watch(config);
  const take = (phase, object) => {
    seen.push([phase, object.data.k]);
    if (seen.length === 2) enough.resolve();
  };
  const query = { resourceVersion: since, allowWatchBookmarks: true };
  const controller = await watch.watch(MAPS, query, take, enough.reject);
  await enough.promise;
  controller.abort();
  assert.deepEqual(seen[0], ["MODIFIED", "2"]);
}

async function inform() {
  const list = () => core.listNamespacedConfigMap({ namespace });
  const informer = k8s.makeInformer(config, MAPS, list);
  const [added, updated, gone] = [later(), later(), later()];
  informer.on("add", (map) => map.metadata.name === name && added.resolve());
  informer.on("update", (map) => map.data.k === "9" && updated.resolve());
  informer.on("delete", (map) => map.metadata.name === name && gone.resolve());
  informer.on("error", gone.reject);
  await informer.start();
  await added.promise;
  assert.equal(informer.get(name, namespace).data.k, "2");
  const how = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch);
  await core.patchNamespacedConfigMap({ name, namespace, body: { data: { k: "9" } } }, how);
  await updated.promise;
  await core.deleteNamespacedConfigMap({ name, namespace });
  await gone.promise;
  informer.off("error", gone.reject);
  await informer.stop();
  const missing = core.readNamespacedConfigMap({ name, namespace });
  await assert.rejects(missing, (err) => err.code === 404 && JSON.parse(err.body).reason === "NotFound");
}

async function stream() {
  assert.equal(await core.readNamespacedPodLog({ name: "web", namespace }), "one\ntwo\n");
  const lines = collect();
  const ended = later();
  lines.stream.on("close", ended.resolve);
  await new k8s.Log(config).log(namespace, "web", "c", lines.stream, { tailLines: 1 });
  await ended.promise;
  assert.equal(lines.text(), "two\n");

  const [out, err, status] = [collect(), collect(), later()];
  const words = ["sh", "-c", "cat; echo no >&2; exit 3"];
  const input = Readable.from([Buffer.from("hi\n")]);
  const exec = new k8s.Exec(config);
  await exec.exec(namespace, "web", "c", words, out.stream, err.stream, input, false, status.resolve);
  const code = (await status.promise).details.causes.find((cause) => cause.reason === "ExitCode");
  assert.deepEqual([code.message, out.text(), err.text()], ["3", "hi\n", "no\n"]);

  const echo = new PassThrough();
  const typed = new PassThrough();
  const attached = await new k8s.Attach(config).attach(namespace, "web", "c", echo, null, typed, false);
  typed.write("typed\n");
  assert.equal((await echo.take(1).toArray()).toString(), "typed\n");
  attached.close();

  const there = new PassThrough(), back = new PassThrough();
  const forward = new k8s.PortForward(config);
  const socket = await forward.portForward(namespace, "web", [Number(process.env.PORT)], back, null, there);
  there.write("ping\n");
  assert.equal((await back.take(1).toArray()).toString(), "ping\n");
  socket.close();
}

async function measure() {
  const metrics = new k8s.Metrics(config);
  assert.equal((await metrics.getNodeMetrics()).kind, "NodeMetricsList");
  assert.equal((await metrics.getPodMetrics(namespace)).kind, "PodMetricsList");
}

const since = await drive();
await follow(since);
await driveAnyKind();
await inform();
await stream();
await measure();
assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).major, "1");
process.exit(0); // an abandoned stream must not hold the process
