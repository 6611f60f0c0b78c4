"""The figure that a reader plays with: its numbers are the package's."""

import json

import pytest
import torch

from maml_en_llm import SGD, Adam, meta_gradient

pytestmark = pytest.mark.browser
INDEX, CHAPTER = "book/index", "book/02-meta-gradients"
SHAPES = [[[3.0, 1.0], [1.0, 1.0]], [[0.8, -0.6], [-0.6, 2.5]]]
CENTRES = [[-1.0, 0.6], [1.2, -0.4]]


def expected(theta, alpha, k, exact=True, adam=False) -> list[float]:
    """The mean meta-gradient of both bowls by the package, in float64."""
    shapes = torch.tensor(SHAPES, dtype=torch.float64)
    centres = torch.tensor(CENTRES, dtype=torch.float64)

    def bowl(params, task):
        offset = params["theta"] - centres[task]
        return 0.5 * offset @ shapes[task] @ offset

    params = {"theta": torch.tensor(theta, dtype=torch.float64)}
    inner = Adam(alpha, eps_root=1e-8) if adam else SGD(alpha)
    mode = "reverse" if exact else "first_order"
    found = [
        meta_gradient(bowl, params, [task] * k, task, inner, mode=mode).grads["theta"]
        for task in (0, 1)
    ]
    return ((found[0] + found[1]) / 2).tolist()


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("k", [0, 1, 3, 8])
def test_the_pages_numbers_are_the_packages(visit, k, adam):
    page = visit().open(CHAPTER)
    values = dict(theta=[1.3, -0.7], alpha=0.23, k=k, adam=adam)
    found = page.evaluate("(values) => window.bowls.compute(values)", values)
    for name, exact in (("exact", True), ("first", False)):
        want = expected(values["theta"], 0.23, k, exact, adam)
        # two float64 computations of some hundred operations
        assert found[name] == pytest.approx(want, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", [INDEX, CHAPTER])
def test_the_keyboard_moves_everything(visit, name):
    seen = visit()
    page = seen.open(name)
    host = page.locator("[data-bowls]").first

    def shown() -> list[float]:
        return json.loads(host.get_attribute("data-exact"))

    assert shown() == pytest.approx(expected([2.0, 1.5], 0.1, 3))
    host.locator(".theta").focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert shown() == pytest.approx(expected([1.75, 1.45], 0.1, 3))
    host.locator("input").nth(1).focus()
    page.keyboard.press("ArrowLeft")  # k
    assert shown() == pytest.approx(expected([1.75, 1.45], 0.1, 2))
    host.locator("input").first.focus()
    page.keyboard.press("ArrowRight")  # α
    assert shown() == pytest.approx(expected([1.75, 1.45], 0.11, 2))
    assert "θ = (1.75, 1.45)" in host.locator("output").inner_text()
    assert seen.faults == []


def test_the_start_can_be_dragged(visit):
    page = visit().open(INDEX)
    host = page.locator("[data-bowls]").first
    host.scroll_into_view_if_needed()
    box = host.locator(".theta").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] + 40, steps=4)
    page.mouse.up()
    said = host.locator("output").inner_text()
    assert said.startswith("θ = (") and "θ = (2.00, 1.50)" not in said


def test_outer_steps_lower_the_objective(visit):
    page = visit().open(INDEX)
    host = page.locator("[data-bowls]").first

    def objective() -> float:
        text = host.locator("output").inner_text()
        return float(text.split("F(θ) = ")[1].split(". ")[0])

    before = objective()
    host.get_by_role("button", name="20 outer steps").click()
    assert objective() < before
    host.get_by_role("button", name="back to the start").click()
    assert objective() == before


@pytest.mark.parametrize("name", [INDEX, CHAPTER])
def test_without_scripts_a_picture_stands_there(browser, site, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{name}.html")
    picture = page.locator("[data-bowls] img").first
    assert picture.is_visible() and picture.bounding_box()["height"] > 200
    assert len(picture.get_attribute("alt")) > 40
    context.close()
