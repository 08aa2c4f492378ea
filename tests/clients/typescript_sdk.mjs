// Calls the published TypeScript SDK, beside which it is copied: node typescript_sdk.mjs SERVER NAME
import assert from "node:assert/strict";
import { FlowdaptSDK } from "@emergentmethods/flowdapt-ts-sdk";

const [server, name] = process.argv.slice(2);
const sdk = new FlowdaptSDK({ baseUrl: server });

const aWorkflow = (name, target = "square") => ({
  kind: "workflow",
  metadata: { name, annotations: {} },
  spec: { stages: [{ name: "only", target: `user_modules.orchard.${target}`, type: "simple" }] },
});

async function failureOf(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

const verbs = {
  async ping() {
    assert.equal((await sdk.ping()).app, "flowdapt");
  },

  async status() {
    const { data: told } = await sdk.system.status();
    assert.equal(told.services.CoreService.status, "OK");
  },

  async workflows() {
    const { data: made } = await sdk.workflows.createWorkflow({ request: aWorkflow("ts_made") });
    const { data: found } = await sdk.workflows.getWorkflow({ identifier: "ts_made" });
    assert.equal(found.metadata.uid, made.metadata.uid);
    const listed = await sdk.workflows.listWorkflows();
    assert.ok(listed.some((one) => one.data.metadata.name === "ts_made"));
    const { data: changed } = await sdk.workflows.updateWorkflow({
      identifier: "ts_made",
      request: aWorkflow("ts_made", "fail"),
    });
    assert.equal(changed.spec.stages[0].target, "user_modules.orchard.fail");
    const { data: gone } = await sdk.workflows.deleteWorkflow({ identifier: made.metadata.uid });
    assert.equal(gone.metadata.name, "ts_made");
  },

  async triggers() {
    const action = { target: "run_workflow", parameters: { workflow: "ts_none" } };
    const request = {
      kind: "trigger_rule",
      metadata: { name: "ts_trigger", annotations: {} },
      spec: { type: "schedule", rule: ["0 3 * * *"], action },
    };
    const { data: made } = await sdk.triggers.createTrigger({ request });
    assert.deepEqual(made.spec.rule, ["0 3 * * *"]);
    const { data: found } = await sdk.triggers.getTrigger({ id: "ts_trigger" });
    assert.equal(found.metadata.uid, made.metadata.uid);
    const rule = { eq: [{ var: "type" }, "x"] };
    const { data: changed } = await sdk.triggers.updateTrigger({
      id: "ts_trigger",
      request: { ...request, spec: { type: "condition", rule, action } },
    });
    assert.deepEqual(changed.spec.rule, rule);
    const listed = await sdk.triggers.listTriggers();
    assert.ok(listed.some((one) => one.data.metadata.name === "ts_trigger"));
    const { data: gone } = await sdk.triggers.deleteTrigger({ id: "ts_trigger" });
    assert.equal(gone.metadata.name, "ts_trigger");
  },

  async runs() {
    await sdk.workflows.createWorkflow({ request: aWorkflow("ts_runs") });
    const { data: run } = await sdk.workflows.runWorkflow({
      identifier: "ts_runs",
      input: { n: 3 },
      namespace: "orchard",
    });
    assert.equal(run.state, "finished");
    assert.deepEqual(run.result, [9, "orchard", {}]);
    const { data: begun } = await sdk.workflows.runWorkflow({ identifier: "ts_runs", wait: false });
    assert.ok(["pending", "running"].includes(begun.state));
    const { data: found } = await sdk.workflows.getWorkflowRun({ identifier: run.uid });
    assert.equal(found.name, run.name);
    const listed = await sdk.workflows.listWorkflowRuns({ identifier: "ts_runs", limit: -1 });
    assert.equal(listed.length, 2);
    const { data: gone } = await sdk.workflows.deleteWorkflowRun({ identifier: run.name });
    assert.equal(gone.uid, run.uid);
  },

  async failing_runs() {
    await sdk.workflows.createWorkflow({ request: aWorkflow("ts_failing", "fail") });
    const { data: run } = await sdk.workflows.runWorkflow({ identifier: "ts_failing" });
    assert.equal(run.state, "failed");
    assert.deepEqual(run.result, ["ValueError", "on purpose"]);
  },

  async configs() {
    const request = {
      kind: "config",
      metadata: { name: "ts_config", annotations: {} },
      spec: { selector: { type: "name", value: "ts_nothing", kind: null }, data: { depth: 4 } },
    };
    const metadata = { name: "ts_bare", annotations: {} };
    const bare = { kind: "config", metadata, spec: { data: {} } };
    await sdk.configs.createConfig({ request });
    // The SDK cannot write a config without a selector, but has to read one.
    await fetch(`${server}/configs/`, { method: "POST", body: JSON.stringify(bare) });
    const listed = await sdk.configs.listConfigs();
    const selector = listed.find((one) => one.data.metadata.name === "ts_bare").data.spec.selector;
    assert.equal(selector.type, "name");
    request.spec.data = { depth: 5 };
    const { data: changed } = await sdk.configs.updateConfig({ identifier: "ts_config", request });
    assert.equal(changed.spec.data.depth, 5);
    const { data: found } = await sdk.configs.getConfig({ identifier: "ts_config" });
    assert.equal(found.metadata.uid, changed.metadata.uid);
    const { data: gone } = await sdk.configs.deleteConfig({ identifier: "ts_config" });
    assert.equal(gone.metadata.name, "ts_config");
  },

  async plugins() {
    const name = "orchard_plugin";
    assert.ok((await sdk.plugins.listPlugins()).some((one) => one.data.name === name));
    assert.equal((await sdk.plugins.getPlugin({ name })).data.metadata.version, "2.1.0");
    assert.deepEqual((await sdk.plugins.listPluginFiles({ name })).data.files, ["stages.yaml"]);
    const stream = await sdk.plugins.downloadPluginFile({ name, file: "stages.yaml" });
    assert.equal(await new Response(stream).text(), "kind: workflow\n");
  },

  async metrics() {
    const { data: all } = await sdk.metrics.getMetrics({ max_length: 2000 });
    assert.equal(typeof all["api_request_latency"][0].max, "number");
    const name = "system.cpu.utilization";
    const period = { start_time: new Date(0), end_time: new Date() };
    const { data: one } = await sdk.metrics.getMetrics({ name, ...period });
    assert.deepEqual(Object.keys(one), [name]);
    assert.ok(one[name].some((point) => point.attributes.state === "user"));
  },

  async errors() {
    const missing = await failureOf(sdk.workflows.getWorkflow({ identifier: "nobody" }));
    assert.equal(missing.status, 404);
    assert.equal(typeof missing.detail, "string");
    const wrong = { ...aWorkflow("ts_wrong"), spec: { stages: [] } };
    const refused = await failureOf(
      fetch(`${server}/workflows/`, { method: "POST", body: JSON.stringify(wrong) }).then(
        async (reply) => Promise.reject({ status: reply.status, ...(await reply.json()) }),
      ),
    );
    assert.equal(refused.status, 400);
    await sdk.workflows.createWorkflow({ request: aWorkflow("ts_errors") });
    const taken = await failureOf(sdk.workflows.createWorkflow({ request: aWorkflow("ts_errors") }));
    assert.equal(taken.status, 400);
    assert.match(taken.detail, /ts_errors/);
    for (const input of [[1, 2], "text"]) {
      const malformed = sdk.workflows.runWorkflow({ identifier: "ts_errors", input });
      assert.equal((await failureOf(malformed)).status, 400);
    }
  },
};

await verbs[name]();
