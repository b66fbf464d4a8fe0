/** What went wrong, in words that help whoever reads them. */

const BY_STATUS = {
  401: () => ["An API key is needed", "Enter it with the key button above, then try again."],
  403: (error) => ["The server refuses", error.message],
  404: (error) =>
    error.code === "model_not_found"
      ? ["This model is not served here", "Choose another one."]
      : ["The server no longer has this stream", "It expired, was deleted, or the server was restarted. What you see is all that arrived."],
  413: (error) => ["That is too long", error.message],
  429: (error) => ["Too much at once", `${error.message} ${wait(error)}`],
  503: (error) => ["The server has no room right now", `${error.message} ${wait(error)}`],
};

/** `{title, text}` of an error. */
export function explain(error) {
  const [title, text] = words(error);
  return { title, text };
}

function words(error) {
  if (error.code === "server_shutdown") return ["The server is shutting down", "What arrived stays here. Try again in a moment."];
  const fromModel = /^upstream_/.test(error.code) && error.status >= 500;
  const known = BY_STATUS[error.status];
  if (known && !fromModel) return known(error);
  if (error.code === "connection_lost" && !error.status) return unreachable();
  if (/timeout/.test(error.code)) return ["The model took too long", error.message];
  if (fromModel) return ["The model server failed", error.message];
  if (error.status >= 500) return ["The server failed", error.message];
  if (error.status >= 400) return ["The server could not take this", error.message];
  return ["Something went wrong", error.message];
}

function unreachable() {
  if (!navigator.onLine) return ["You are offline", "Nothing is lost: it goes on when the network is back."];
  return ["The server cannot be reached", "Is it running? What you typed is kept; try again when it is back."];
}

function wait(error) {
  if (!error.retryAfter) return "Try again in a moment.";
  return `Try again in ${error.retryAfter} ${error.retryAfter === 1 ? "second" : "seconds"}.`;
}

/** What the state of a stream means to its reader; empty where the text speaks for itself. */
export const STATES = {
  connecting: "Waiting for the first token",
  streaming: "Streaming",
  stalled: "Connected, but the server is silent",
  reconnecting: "Connection lost. Reconnecting; nothing is lost",
  offline: "Offline. It goes on when the network is back",
  finished: "Finished",
  failed: "Failed",
  cancelled: "Stopped",
  closed: "Not followed any more",
};
