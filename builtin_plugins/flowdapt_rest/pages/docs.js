"use strict";
// Texts of the document and of replies only ever become text, never markup.
const METHODS = ["get", "post", "put", "patch", "delete"];

/** Return the headers that say who calls; the token is kept nowhere but in its field. */
function authorization() {
  const token = document.getElementById("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function resolved(api, value) {
  if (!value || !value.$ref) return value || {};
  return value.$ref.slice(2).split("/").reduce((part, key) => part[key], api);
}

/** Return a schema as a few words, such as `array of string`. */
function words(api, schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const either = schema.anyOf || schema.oneOf || schema.allOf;
  const orNull = schema.nullable ? " or null" : "";
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ") + orNull;
  if (either) return either.map((one) => words(api, one)).join(" or ") + orNull;
  if (schema.type === "array") return "array of " + (words(api, schema.items) || "anything") + orNull;
  return (schema.type || "anything") + (schema.format ? ` (${schema.format})` : "") + orNull;
}

/** Return a value as the schema has it, to begin a body with. */
function example(api, schema, depth = 0) {
  const shape = resolved(api, schema);
  if (shape.default !== undefined) return shape.default;
  if (shape.enum) return shape.enum[0];
  const either = shape.anyOf || shape.oneOf || shape.allOf;
  if (either) return example(api, either[0], depth);
  if (shape.type === "array") return depth > 6 ? [] : [example(api, shape.items, depth + 1)];
  if (shape.type === "object") {
    const needed = (shape.required || []).concat(shape.properties && shape.properties.kind ? ["kind"] : []);
    return Object.fromEntries(needed.map((key) => [key, example(api, shape.properties[key], depth + 1)]));
  }
  return { integer: 0, number: 0, boolean: false, string: "" }[shape.type] ?? null;
}

function fields(api, schema) {
  const shape = resolved(api, schema);
  if (shape.type === "array") return fields(api, shape.items);
  const rows = Object.entries(shape.properties || {}).map(([name, field]) =>
    element("tr", {},
      element("td", {}, element("code", {}, name)),
      element("td", {}, words(api, field)),
      element("td", {}, resolved(api, field).description || "")));
  if (!rows.length) return element("p", {}, words(api, shape));
  return element("table", {}, ...rows);
}

function contents(api, content) {
  const made = document.createDocumentFragment();
  for (const [type, { schema }] of Object.entries(content || {})) {
    made.append(element("p", {}, element("code", {}, type), " ", words(api, schema)), fields(api, schema));
  }
  return made;
}

function form(api, path, method, operation) {
  const inputs = (operation.parameters || []).map((parameter) => {
    const { name, schema = {} } = parameter;
    const choice = schema.enum
      ? element("select", {}, element("option", { value: "" }, ""), ...schema.enum.map((one) => element("option", {}, one)))
      : element("input", { placeholder: schema.default === undefined ? "" : String(schema.default) });
    choice.setAttribute("aria-label", name);
    const row = element("tr", {},
      element("td", {}, element("code", {}, name), parameter.required ? " *" : ""),
      element("td", {}, words(api, schema)),
      element("td", {}, parameter.description || ""),
      element("td", {}, choice));
    return { parameter, choice, row };
  });
  const body = operation.requestBody && element("textarea", { "aria-label": "body", spellcheck: "false" });
  if (body) {
    const { schema } = Object.values(operation.requestBody.content)[0];
    body.value = JSON.stringify(example(api, schema), null, 2);
  }
  const reply = element("div", { role: "status" });
  const button = element("button", { type: "button" }, "Send");
  button.addEventListener("click", () => send(path, method, inputs, body, reply));
  const made = document.createDocumentFragment();
  if (inputs.length) made.append(element("table", {}, ...inputs.map((one) => one.row)));
  if (body) made.append(element("p", {}, "Body"), body, element("details", {},
    element("summary", {}, "What may be in it"), contents(api, operation.requestBody.content)));
  made.append(button, reply);
  return made;
}

async function send(path, method, inputs, body, reply) {
  const headers = authorization(), query = new URLSearchParams();
  let target = path;
  for (const { parameter, choice } of inputs) {
    const { name } = parameter, value = choice.value;
    if (parameter.in === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
    else if (value !== "" && parameter.in === "query") query.append(name, value);
    else if (value !== "" && parameter.in === "header") headers[name] = value;
  }
  const url = target + (query.size ? `?${query}` : "");
  const options = { method: method.toUpperCase(), headers };
  if (body && body.value.trim()) {
    options.body = body.value;
    headers["Content-Type"] = "application/json";
  }
  reply.replaceChildren("…");
  try {
    const response = await fetch(url, options);
    let text = await response.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: as it is */ }
    const status = `${response.status} ${response.statusText} ${response.headers.get("content-type") || ""}`;
    reply.replaceChildren(element("p", {}, `${options.method} ${url}: ${status}`), element("pre", {}, text));
  } catch (error) {
    reply.replaceChildren(element("p", {}, `${options.method} ${url}: ${error.message}`));
  }
}

function article(api, path, method, operation) {
  const replies = Object.entries(operation.responses).map(([status, given]) => {
    const response = resolved(api, given);
    return element("details", {},
      element("summary", {}, element("code", {}, status), " ", response.description || ""),
      contents(api, response.content));
  });
  const inside = element("div", { class: "inside" },
    element("p", {}, operation.description || ""), form(api, path, method, operation),
    element("h3", {}, "Replies"), ...replies);
  const details = element("details", {},
    element("summary", {}, element("span", { class: "method" }, method.toUpperCase()),
      element("code", {}, path), " ", element("span", { class: "about" }, operation.summary || "")),
    inside);
  return element("article", { id: operation.operationId }, details);
}

function draw(api) {
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const group = (item[method].tags || ["server"])[0];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push([path, method, item[method]]);
    }
  }
  const main = document.getElementById("operations"), nav = document.getElementById("contents");
  main.replaceChildren();
  nav.replaceChildren();
  for (const [group, operations] of groups) {
    main.append(element("h2", {}, group), ...operations.map((one) => article(api, ...one)));
    nav.append(element("strong", {}, group), element("ul", {}, ...operations.map(([, , operation]) =>
      element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.operationId)))));
  }
}

async function read() {
  try {
    const response = await fetch("/openapi.json", { headers: authorization() });
    const api = await response.json();
    if (!response.ok) throw new Error(api.detail);
    draw(api);
  } catch (error) {
    const said = element("p", { role: "status" }, `/openapi.json cannot be read: ${error.message}`);
    document.getElementById("operations").replaceChildren(said);
  }
}

document.getElementById("token").addEventListener("change", read);
read();
