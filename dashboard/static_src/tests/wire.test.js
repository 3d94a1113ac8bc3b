/** The frames these tests and this page speak of are the server's: checked against its published schema. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { frame } from "./given.js";

const schema = JSON.parse(await readFile(new URL("../../../live/wire.schema.json", import.meta.url), "utf8"));
const page = await readFile(new URL("../signals.js", import.meta.url), "utf8");
const connection = await readFile(new URL("../model/connection.js", import.meta.url), "utf8");

/** The server's frame definitions by their `type`. */
function served() {
  const names = schema.$defs.ServerFrame.oneOf.map(({ $ref }) => $ref.split("/").at(-1));
  return new Map(names.map((name) => [typeOf(schema.$defs[name]), schema.$defs[name]]));
}

function typeOf(definition) {
  const { type } = definition.properties;
  return type.const ?? type.enum[0];
}

test("the signal frame of these tests has exactly the server's fields", () => {
  const definition = served().get("signal");

  assert.deepEqual(Object.keys(frame()).sort(), [...definition.required].sort());
});

test("the page knows every type that the server sends, or leaves it out on purpose", () => {
  const leftOut = ["replayed", "subscribed", "pong"];

  for (const type of served().keys()) {
    const isKnown = page.includes(`  ${type}: (`) || connection.includes(`"${type}"`) || leftOut.includes(type);
    assert.ok(isKnown, `${type} is sent by the server and known to nobody here`);
  }
});

test("the page speaks of no frame that the server does not send", () => {
  const handlers = page.match(/const HEARD = \{[\s\S]*?\n\};/)[0].matchAll(/^ {2}(\w+): \(/gm);

  for (const [, type] of handlers) assert.ok(served().has(type), `${type} is no frame of the server's`);
});
