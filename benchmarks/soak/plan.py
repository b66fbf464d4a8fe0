"""What happens to each stream: drawn from the seed and the stream's number, and from nothing else."""

from __future__ import annotations

from random import Random
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from benchmarks.soak.answers import Recipe, draw_recipe
from benchmarks.soak.views import CHAT, NATIVE, TEXT, View
from benchmarks.soak.wire import Manner, Request

MODEL: Final = "soak"
BRIEF: Final = "soak-brief"
"""The model with a short total deadline."""
PAUSING: Final = "soak-pausing"
"""The model whose upstream waits for slow readers."""
Shape = Literal["chat", "whole", "created", "native", "prompt"]
Ending = Literal["natural", "cancel", "cancel-by-key", "delete", "leave"]
Resume = Literal["header", "query", "skip"]
_SHAPES: Final[dict[Shape, int]] = {"chat": 45, "whole": 8, "created": 20, "native": 15, "prompt": 12}
_ENDINGS: Final[dict[Ending, int]] = {"natural": 72, "cancel": 8, "cancel-by-key": 4, "delete": 5, "leave": 11}
_MODELS: Final = {MODEL: 86, BRIEF: 4, PAUSING: 10}
_VIEWS: Final[dict[View, int]] = {
    View(CHAT, "sse"): 25,
    View(CHAT, "sse", True): 15,
    View(CHAT, "ndjson"): 6,
    View(NATIVE, "sse"): 22,
    View(NATIVE, "ndjson"): 10,
    View(TEXT, "plain"): 14,
    View(TEXT, "sse"): 5,
    View(TEXT, "ndjson"): 3,
}
_PROMPT_VIEWS: Final = (View(CHAT, "sse"), View(CHAT, "ndjson"), View(NATIVE, "sse"), View(TEXT, "plain"))
_FRAME_BYTES: Final = {CHAT: 280, NATIVE: 140, TEXT: 20}
_SHARED_RECIPES: Final = 80


class Segment(NamedTuple):
    """One connection of a reader that does not read to the end."""

    manner: Manner
    rest_s: float = 0.0
    """Until it comes back."""
    resume: Resume = "skip"
    """How it says then where it was."""


class Reading(NamedTuple):
    """One reader of a stream."""

    view: View
    delay_s: float = 0.0
    """From when the stream is known, or from its end."""
    late: bool = False
    """Whether it comes after the end."""
    segments: tuple[Segment, ...] = ()
    """What it goes through before it reads to the end."""
    chat_route: bool = False
    """Whether it reads at `/v1/chat/completions/{id}`; that has no `include_usage` and so the stream's own."""
    kind: str = "observer"

    @property
    def outlasts(self) -> bool:
        """Whether it goes on when the stream has ended, and nobody waits for it before."""
        return self.late or self.kind == "stuck"


class Plan(NamedTuple):
    """One stream."""

    number: int
    prompt: str
    shape: Shape
    recipe: Recipe
    model: str
    policy: str | None
    """The header `Headrace-On-Disconnect`."""
    key: str | None
    repeats: tuple[float, ...]
    """When the same request is sent again, in seconds."""
    ending: Ending
    at_s: float
    """When that happens, from the request."""
    first: Reading
    """The reader that the request itself is."""
    ids: bool
    """Whether a chat stream is asked for ids."""
    observers: tuple[Reading, ...]

    @property
    def request(self) -> Request:
        """What makes the stream."""
        headers = {"headrace-on-disconnect": self.policy} if self.policy else {}
        if self.key:
            headers["idempotency-key"] = self.key
        messages = [{"role": "user", "content": self.prompt}]
        body: dict[str, Any] = {"model": self.model, "messages": messages, "metadata": {"number": str(self.number)}}
        if self.shape == "prompt":
            view = self.first.view
            path = f"/stream?prompt={quote(self.prompt)}&model={self.model}&format={view.format}"
            return Request("GET", path, headers=headers | view.accept)
        if self.shape in ("created", "native"):
            accept = self.first.view.accept if self.shape == "native" else {"accept": "application/json"}
            return Request("POST", "/v1/streams", body, headers | accept)
        body |= {"stream": self.shape == "chat", "mock": self.recipe.wishes() | {"fault": self.recipe.fault.text}}
        if self.first.view.usage:
            body["stream_options"] = {"include_usage": True}
        if self.ids:
            headers["headrace-ids"] = "1"
        return Request("POST", "/v1/chat/completions", body, headers)


def shared_recipes(seed: int, longest_s: float) -> list[Recipe]:
    """For the shapes whose requests cannot tell the mock what they want: it finds their number in the prompt."""
    random = Random(f"{seed}/recipes")
    return [draw_recipe(random, longest_s, once=False) for _ in range(_SHARED_RECIPES)]


def marker(recipe: int) -> str:
    """What the prompt has for a shared recipe."""
    return f"recipe {recipe};"


def draw_plan(seed: int, number: int, longest_s: float, shared: list[Recipe]) -> Plan:
    """The plan of a stream."""
    random = Random(f"{seed}/{number}")
    shape = _pick(random, _SHAPES)
    prompt = f"stream {number} of soak {seed}"
    if shape in ("chat", "whole"):
        recipe = draw_recipe(random, longest_s, once=True)
    else:
        chosen = random.randrange(len(shared))
        recipe, prompt = shared[chosen], f"{marker(chosen)} {prompt}"
    ending = _pick(random, _ENDINGS)
    key = _key(random, number, shape, recipe, ending)
    if ending == "cancel-by-key" and key is None:
        ending = "cancel"
    first = _first(random, shape, recipe, ending)
    observers = () if ending == "leave" else _observers(random, recipe, first.view.usage, shape)
    again = key is not None and ending in ("natural", "cancel")
    return Plan(
        number=number,
        prompt=prompt,
        shape=shape,
        recipe=recipe,
        model=_pick(random, _MODELS if ending == "natural" else {MODEL: 1}),
        policy=_policy(random, shape, ending),
        key=key,
        repeats=tuple(_moment(random, recipe) for _ in range(random.randint(0, 2))) if again else (),
        ending=ending,
        at_s=random.uniform(0.0, recipe.seconds),
        first=first,
        ids=shape == "chat" and random.random() < 0.3,
        observers=observers,
    )


def _pick(random: Random, weights: dict[Any, int]) -> Any:
    return random.choices(list(weights), list(weights.values()))[0]


def _key(random: Random, number: int, shape: Shape, recipe: Recipe, ending: Ending) -> str | None:
    """Only where the key is kept whatever happens: it is freed by a failure, or a leaving, before the first content."""
    if ending == "leave" or shape == "prompt" or not recipe.fault.speaks:
        return None
    return f"soak-{number}" if ending == "cancel-by-key" or random.random() < 0.2 else None


def _policy(random: Random, shape: Shape, ending: Ending) -> str | None:
    if ending == "leave":
        return random.choice(("cancel", "grace=0.5", "grace=2", "continue", None))
    if shape == "whole":  # its default is to cancel, and nobody leaves
        return None
    # Who only takes the id may not be followed by any reader, or by one that comes after the grace.
    return random.choice((None, "continue") if shape == "created" else (None, None, "continue", "grace=20"))


def _moment(random: Random, recipe: Recipe) -> float:
    """At once, or at some time of the stream's life."""
    return random.choice((0.0, random.uniform(0.0, recipe.seconds)))


def _first(random: Random, shape: Shape, recipe: Recipe, ending: Ending) -> Reading:
    views: dict[Shape, View] = {
        "chat": View(CHAT, "sse", random.random() < 0.4),
        "prompt": random.choice(_PROMPT_VIEWS),
    }
    view = views.get(shape, View(NATIVE, "sse"))
    if ending == "leave":  # in the head there is no id yet, so nobody could look what became of the stream
        manner = Manner(cut_at=_place(random, view, recipe), reset=random.random() < 0.5)
        return Reading(view, segments=(Segment(manner),), kind=f"first ({shape})")
    segments = _segments(random, view, recipe) if shape != "whole" else ()
    return Reading(
        view, segments=segments, chat_route=shape == "chat" and random.random() < 0.5, kind=f"first ({shape})"
    )


def _observers(random: Random, recipe: Recipe, usage: bool, shape: Shape) -> tuple[Reading, ...]:
    found = [_observer(random, recipe, usage, shape) for _ in range(random.choices(range(5), (15, 25, 25, 20, 15))[0])]
    if recipe.fault.fat_after is not None:
        view = random.choice((View(CHAT, "sse"), View(NATIVE, "sse"), View(NATIVE, "ndjson")))
        stop = random.randrange(_FRAME_BYTES[view.format] * recipe.fault.fat_after)
        found.append(Reading(view, segments=(Segment(Manner(stall_at=stop, stall_s=None)),), kind="stuck"))
    return tuple(found)


def _observer(random: Random, recipe: Recipe, usage: bool, shape: Shape) -> Reading:
    view: View = _pick(random, _VIEWS)
    chat_route = view.format == CHAT and view.body == "sse" and random.random() < 0.5
    if chat_route:
        view = view._replace(usage=usage and shape == "chat")
    late = random.random() < 0.2
    delay = random.uniform(0.0, 3.0) if late else _moment(random, recipe)
    return Reading(view, delay, late, _segments(random, view, recipe), chat_route, "late" if late else "observer")


def _place(random: Random, view: View, recipe: Recipe) -> int:
    """A byte of the body, wherever it is; the whole of it is estimated."""
    frames = recipe.tokens // recipe.chunk_words + recipe.reasoning + 4
    return int(random.random() ** 1.5 * frames * _FRAME_BYTES[view.format]) + 1


def _segments(random: Random, view: View, recipe: Recipe) -> tuple[Segment, ...]:
    found: list[Segment] = []
    while len(found) < 6 and random.random() < 0.5:
        cut = _place(random, view, recipe)
        stalls = random.random() < 0.15
        manner = Manner(
            cut_at=None if stalls and random.random() < 0.5 else cut,
            reset=random.random() < 0.5,
            stall_at=random.randrange(cut) if stalls else None,
            stall_s=random.uniform(0.2, 4.0) if stalls else 0.0,
        )
        found.append(Segment(manner, random.uniform(0.0, 1.5), random.choice(("header", "query", "skip"))))
    return tuple(found)
