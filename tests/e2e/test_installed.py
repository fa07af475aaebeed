"""What counts as installed when no tool that the service knows ran."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import World


def plain_card(world: World, path: str, script: str, front: str = "") -> str:
    """A card with just this front matter."""
    (world.cards / path).write_text(f"---\ntitle: A card\n{front}---\n# Download\n```bash\n{script}\n```\n")
    return path


@pytest.mark.parametrize(
    "script",
    [
        'mkdir -p "$UI_HOME/custom_nodes/node" && echo "print(1)" >"$UI_HOME/custom_nodes/node/__init__.py"',
        """python3 -c 'import os; open(os.environ["UI_HOME"] + "/model.yaml", "w").write("a: 1")'""",
    ],
    ids=["shell", "python"],
)
async def test_a_file_of_a_command_without_a_shim_counts(world: World, script: str) -> None:
    job_id = await world.service.install(world.instance, world.ui_home, plain_card(world, "node.md", script))
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job


async def test_a_card_that_leaves_nothing_is_not_installed(world: World) -> None:
    (world.ui_home / "old.safetensors").write_text("was there before")
    job_id = await world.service.install(world.instance, world.ui_home, plain_card(world, "none.md", "true"))
    job = await world.service.ended(job_id)
    assert (job["state"], job["cause"]) == ("failed", "nothing_installed"), job


async def test_a_card_may_say_that_it_leaves_nothing(world: World) -> None:
    card = plain_card(world, "none.md", "true", front="installs: nothing\n")
    job = await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    assert job["state"] == "completed", job
