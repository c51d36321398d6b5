"""Write the quickstart's data: support messages, each with the strict JSON that a ticket system would want.

Made, not collected, so that anyone may use them for anything. The same seed gives the same file:
`python -m studies.tickets > studies/tickets.jsonl`.
"""

import json
import random
import sys
from collections.abc import Iterator

ROWS = 200
SEED = 7

PRODUCTS = ("lamp", "kettle", "tent", "drill", "printer", "jacket", "clock", "bike", "router", "mixer")

COMPLAINTS = {
    "broken": (
        "The {product} I got is cracked.",
        "My {product} stopped working after a day.",
        "The new {product} does not turn on.",
        "There is a loud noise and then the {product} dies.",
    ),
    "late": (
        "Where is my {product}? It should have come last week.",
        "I am still waiting for the {product}.",
        "The {product} has not arrived yet.",
        "Tracking for my {product} has not moved in days.",
    ),
    "refund": (
        "I sent the {product} back and want my money.",
        "Please refund the {product}, I no longer need it.",
        "You charged me twice for the {product}.",
        "I returned the {product} and nobody paid me back.",
    ),
    "wrong": (
        "I ordered a {product} and got something else.",
        "This {product} has the wrong colour.",
        "You sent me two of the {product} instead of one.",
        "The {product} in the box is not the model I chose.",
    ),
}

URGENT = ("I need it today.", "This is urgent!", "Please answer at once.", "It cannot wait.")
CALM = ("No hurry.", "Take your time.", "Thanks a lot.", "Whenever you can.")
ORDER = ("Order {order}.", "My order is {order}.", "It is order {order}.", "({order})")


def tickets(rows: int = ROWS, seed: int = SEED) -> Iterator[dict[str, str]]:
    """Yield prompt and completion; no two prompts are the same."""
    rng = random.Random(seed)  # noqa: S311 - made-up rows, not secrets
    seen: set[str] = set()
    while len(seen) < rows:
        topic = rng.choice(tuple(COMPLAINTS))
        product = rng.choice(PRODUCTS)
        order = rng.randrange(100, 1000)
        urgent = rng.choice((True, False))
        sentences = [
            rng.choice(COMPLAINTS[topic]).format(product=product),
            rng.choice(ORDER).format(order=order),
            rng.choice(URGENT if urgent else CALM),
        ]
        if rng.choice((True, False)):
            sentences[1], sentences[2] = sentences[2], sentences[1]
        prompt = " ".join(sentences)
        if prompt in seen:
            continue
        seen.add(prompt)
        answer = {"topic": topic, "product": product, "order": order, "urgent": urgent}
        yield {"prompt": prompt, "completion": json.dumps(answer)}


def main() -> None:
    """Write the rows to standard output, one JSON object a line."""
    for ticket in tickets():
        sys.stdout.write(json.dumps(ticket) + "\n")


if __name__ == "__main__":
    main()
