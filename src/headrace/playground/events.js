/** A record's event in one line: its type, and what it brings first of all. */
export function inWords({ type, text, json, ...rest }) {
  const piece = text ?? json;
  if (piece !== undefined) return [type, JSON.stringify(piece)];
  const fields = Object.entries(rest).filter(([, value]) => typeof value !== "object");
  return [type, fields.map(([name, value]) => `${name} ${value}`).join(" ")];
}
