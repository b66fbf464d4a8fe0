/** The formats in which this server gives a stream, as its own description lists them. */

import { request } from "./session.js";

const PATH = "/v1/streams/{stream_id}/events";
let known = null;

export function formats() {
  known ??= request("/openapi.json").then((document) => {
    const parameters = document.paths[PATH].get.parameters;
    return parameters.find((parameter) => parameter.name === "format").schema.enum;
  });
  known.catch(() => (known = null));
  return known;
}
