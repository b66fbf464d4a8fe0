"""The Markdown renderer: the same elements however the text is cut, nothing half-rendered, nothing that runs."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.e2e.processes import Server

pytestmark = pytest.mark.anyio

SETUP = """
async () => {
  const { MarkdownWriter } = await import('/playground/markdown/blocks.js');
  window.render = (pieces, end = true) => {
    const element = document.createElement('div');
    const writer = new MarkdownWriter(element);
    const seen = [];
    for (const piece of pieces) { writer.feed(piece); seen.push(element.textContent); }
    if (end) writer.end();
    return { html: element.innerHTML, seen, text: element.textContent };
  };
  // Every cut in two, and cuts into pieces of 1, 2, 3, 5 and 8 characters.
  window.differences = (text) => {
    const characters = [...text];
    const whole = render([text]).html;
    const cuts = [1, 2, 3, 5, 8].map((size) => Array.from({ length: Math.ceil(characters.length / size) },
      (_, at) => characters.slice(at * size, at * size + size).join('')));
    for (let at = 1; at < characters.length; at++)
      cuts.push([characters.slice(0, at).join(''), characters.slice(at).join('')]);
    for (const pieces of cuts) {
      const { html } = render(pieces);
      if (html !== whole) return { pieces: pieces.slice(0, 40), html, whole };
    }
    return null;
  };
}
"""


@pytest.fixture(scope="module")
async def blank(browser: Any, mocked: Server) -> Any:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{mocked.url}/playground/icon.svg")
    await page.goto(f"{mocked.url}/#/compare")
    await page.evaluate(SETUP)
    yield page
    await context.close()


DOCUMENT = """# Water mills

A *mill* turns **falling water** into ***work***, see [the page](https://example.com/a_(b)?x=1 "title") or
https://example.com/path_with_underscores. Costs $5 and `code * with * stars`, `` a ` tick ``.

## How
1. The *race* brings water
   - over the **wheel**
   - or under it
     > quoted in a list
     > twice
2. The wheel turns

   A second paragraph.
   ```python
   def f(x):
       return x ** 2  # not **bold**

   print(f"<b>{f(3)}</b>")
   ```
3. Done

> A quote with `code`
> and > more
lazily continued

| Name | Watts | Note |
|:-----|------:|:----:|
| Overshot | 85 % | **best** |
| a \\| b | `x` | <script>alert(1)</script> |

- - -
* star
+ plus
- [x] done ~~struck~~

Formula $a_1 * b_2$ and \\(x*y*z\\) and $$\\sum_{i} x_i$$ stay. 5 * 3 * 2, snake_case_name, 2**3**4.
&lt;b&gt; &amp; <https://example.org> ![an image](https://example.com/i.png) [bad](javascript:alert(1)) [x] [y](
"""

CASES = {
    "document": DOCUMENT,
    "unterminated fence": "Text\n\n```js\nlet a = `1`;\n\n  indented\n",
    "unterminated spans": "An *open emphasis, an `open code, an [open link](http://exa",
    "stars": "**a *b** c* ***d** e* f** *g*h* i*j ****k**** ~~l~ m~~ _n_o _p_",
    "emoji": "水 **流れる** 🌊*波*🌊 `é` [ü](https://x.y/ü)",
    "carriage returns": "a\r\nb\r\n\r\n- c\r\n- d\r\n",
    "nested": "> > - 1. # deep\n> > - x\n> y\nz\n\n- a\n\n  b\n- c\n      d\n1) x\n2) y\n\n3) z",
    "tables": "| a |\n| b |\n\n| c | d |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |\ntext\n|x|\n|-|",
    "lone marks": "*\n-\n#\n>\n`\n``\n```\n~~~\n|\n1.\n_\n",
    "escapes": "\\*no\\* \\`x\\` \\\\ \\# \\a &nbsp; &nope; a\\\nb",
    "fences": "````md\n```js\n```\n````\n~~~\n```\n~~~ \n``` a`b\nx",
    "money": "$5 and $10, $x$ $ y $ $$z$$ $1x$ a$b$c $\nq$",
    "long word": "x" * 3000 + "https://a.b/" + "y" * 2500 + " *" + "z " * 600 + "*",
    "long paragraph": "word **bold** `code` " * 500 + "\nnext line " * 50,
    "brackets": "[a][b] [c] (d) [e](f) [g](https://h.i) [[j](https://k.l)](https://m.n) a[0] [o](<https://p.q r>)",
    "empty": "\n\n\n",
}


@pytest.mark.parametrize("name", CASES)
async def test_every_cut_of_the_text_gives_the_elements_of_the_whole(blank: Page, name: str) -> None:
    text = CASES[name]
    probe = "differences" if len(text) < 2500 else "(text) => differences(text.slice(0, 1200)) ?? cutsOf(text)"
    if len(text) >= 2500:
        await blank.evaluate(
            """() => { window.cutsOf = (text) => {
              const whole = render([text]).html;
              for (const size of [1, 7, 64, 1000]) {
                const pieces = text.match(new RegExp(`[^]{1,${size}}`, 'g'));
                if (render(pieces).html !== whole) return { size };
              }
              return null;
            } }"""
        )
    assert await blank.evaluate(probe, text) is None


async def test_random_texts_made_of_marks_give_the_same_elements_however_they_are_cut(blank: Page) -> None:
    found = await blank.evaluate(
        """() => {
          const marks = ['*', '**', '_', '`', '```', '\\n', '\\n\\n', ' ', '  ', '- ', '1. ', '# ', '> ', '|', '|-|',
            '[', ']', '(', ')', '](https://a.b)', 'a', 'bc', '!', '\\\\', '$', '<', '&amp;', '~~', 'http://x.y',
            '水', '\\t'];
          let seed = 7;
          const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
          for (let round = 0; round < 4000; round++) {
            const pieces = Array.from({ length: 3 + random(25) }, () => marks[random(marks.length)]);
            const text = pieces.join('');
            const whole = render([text]).html;
            for (const cut of [pieces, [...text]]) {
              const { html } = render(cut);
              if (html !== whole) return { text, html, whole };
            }
          }
          return null;
        }"""
    )
    assert found is None


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Code:\n```python\nx = 1\n```\nDone", "`"),
        ("A **bold** and *soft* word", "*"),
        ("Use `run` now", "`"),
        ("See [the page](https://example.com) there", "["),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "|"),
        ("# Title\ntext", "#"),
        ("- one\n- two\n", "-"),
        ("1. one\n2. two\n", "1"),
        ("> quoted\n", ">"),
        ("***both*** ~~gone~~", "~"),
    ],
)
async def test_no_mark_flashes_before_it_is_understood(blank: Page, text: str, hidden: str) -> None:
    seen = await blank.evaluate("(text) => render([...text]).seen", text)
    assert not [each for each in seen if hidden in each]


async def test_markup_stays_text_and_only_harmless_addresses_become_links(blank: Page) -> None:
    text = (
        "<script>alert(1)</script> <img src=x onerror=alert(2)> [a](javascript:alert(3)) [b](data:text/html,x) "
        "[c](//evil.example) [d](/v1/streams) [e](vbscript:x) [f](JaVaScRiPt:alert(1)) <javascript:alert(4)> "
        "[g](https://good.example) [h](mailto:a@b.c) ![i](https://good.example/x.png)\n\n<iframe src=//x></iframe>\n"
    )
    html = (await blank.evaluate("(text) => render([text])", text))["html"]
    for mark in ("<script", "<img", "<iframe", 'href="javascript'):
        assert mark not in html
    assert html.count("<a ") == 3 and html.count('rel="noopener noreferrer nofollow"') == 3
    assert "&lt;script&gt;" in html


async def test_a_long_answer_is_written_once(blank: Page) -> None:
    """What stands is never made anew: the elements of the first paragraph are the same objects in the end."""
    kept = await blank.evaluate(
        """async () => {
          const { MarkdownWriter } = await import('/playground/markdown/blocks.js');
          const element = document.createElement('div');
          const writer = new MarkdownWriter(element);
          writer.feed('First **bold** paragraph.\\n\\nSecond ');
          const [first] = element.children;
          const text = first.lastChild;
          let removed = 0;
          const observer = new MutationObserver((changes) => changes.forEach((each) => {
            for (const node of each.removedNodes) removed += node.textContent.length;
          }));
          observer.observe(element, { subtree: true, childList: true });
          for (let at = 0; at < 5000; at++) writer.feed('word ');
          writer.end();
          await null;
          return [element.firstChild === first && first.lastChild === text, removed];
        }"""
    )
    assert kept[0] and kept[1] <= 5 * 5000
