// Validates JSON documents against a JSON Schema (draft 4 to 7): node validate.mjs SCHEMA FILE...
// Prints what is wrong, one line each; exit code 1 when anything is. "sarif" stands for the schema of SARIF 2.1.0.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import Ajv from "ajv";

const SARIF = "@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json";
const [schema, ...files] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const path = schema === "sarif" ? require.resolve(SARIF) : schema;
const ajv = new Ajv({ allErrors: true, schemaId: "auto" });
ajv.addMetaSchema(require("ajv/lib/refs/json-schema-draft-04.json"));
const validate = ajv.compile(JSON.parse(readFileSync(path, "utf8")));

let valid = true;
for (const file of files) {
  if (validate(JSON.parse(readFileSync(file, "utf8")))) continue;
  valid = false;
  for (const error of validate.errors) console.log(`${file}: ${error.dataPath || "/"} ${error.message}`);
}
process.exitCode = valid ? 0 : 1;
