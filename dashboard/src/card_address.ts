// The addresses of cards: on the pages after the #, and in the API. The slashes of a path stay.

const quoted = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

export const cardPage = (path: string): string => `#/resources/${quoted(path)}`;
export const cardApi = (path: string): string => `/resources/${quoted(path)}`;
export const installPage = (paths: string[]): string => `#/install?cards=${paths.map(encodeURIComponent).join(",")}`;

// The path of a card that an address after the # names; null if it names none.
export function cardIn(parts: string[]): string | null {
  try {
    const path = parts.map(decodeURIComponent).join("/");
    return path.endsWith(".md") ? path : null;
  } catch {
    // A percent sign that encodes nothing.
    return null;
  }
}

// The cards that the query of an install's address names. A comma in a path is encoded, those between them are not.
export function cardsIn(query: string): string[] {
  const given = query.split("&").find((each) => each.startsWith("cards="));
  const paths = given?.slice("cards=".length).split(",") ?? [];
  return paths.map((path) => cardIn(path.split("/"))).filter((path): path is string => path !== null);
}

// An address that a page may link to. Another one (javascript:) is text and no more.
export function webAddress(text: string | null | undefined): string | null {
  if (text === null || text === undefined) return null;
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}
