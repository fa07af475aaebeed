import { describe, expect, it } from "vitest";

import { cardApi, cardIn, cardPage, cardsIn, installPage, webAddress } from "../src/card_address";

const odd = "a b/ä#?%2F&,=.md";

describe("the addresses of a card", () => {
  it("come back as the path that they were made of", () => {
    const parts = cardPage(odd).replace("#/resources/", "").split("/");
    expect(cardIn(parts)).toBe(odd);
    expect(
      new URL(cardApi(odd), "http://localhost").pathname.split("/").slice(2).map(decodeURIComponent).join("/"),
    ).toBe(odd);
    expect(cardsIn(installPage(["a,b.md", odd]).split("?")[1]!)).toEqual(["a,b.md", odd]);
    expect(cardsIn("")).toEqual([]);
  });

  it("name a card only if they are whole", () => {
    expect(cardIn(["a.md"])).toBe("a.md");
    expect(cardIn([""])).toBeNull();
    expect(cardIn(["a"])).toBeNull();
    expect(cardIn(["%E0%A4.md"])).toBeNull();
  });
});

describe("an address on a card", () => {
  it.each(["javascript:alert(1)", "data:text/html,x", "file:///x", "x", "", null, "https://"])(
    "%s is no link",
    (text) => {
      expect(webAddress(text)).toBeNull();
    },
  );
  it("is one if the web has it", () => {
    expect(webAddress("https://a.example/x?y")).toBe("https://a.example/x?y");
  });
});
