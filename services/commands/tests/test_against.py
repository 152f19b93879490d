"""The story told to a bank that is up already."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from stdnum.br import cnpj, cpf

from mesh.cli.main import run
from mesh.supervisor.project import Project
from services.commands import demo
from services.commands.customer import someone_like
from services.commands.story import ANA, LOCAL, STEPS, Story, steps_of


def test_someone_new_has_the_names_and_valid_documents_of_their_own() -> None:
    one, other = someone_like(ANA), someone_like(ANA)

    assert one.legal_name == ANA.legal_name
    assert cpf.is_valid(one.cpf)
    assert cnpj.is_valid(one.cnpj)
    assert len({ANA.email, one.email, other.email}) == 3


async def test_steps_that_need_the_machine_are_left_out() -> None:
    async with httpx2.AsyncClient() as client:
        steps = [step for _, step in steps_of(Story(None, client))]
        with_traces = [step for _, step in steps_of(Story(None, client, "http://jaeger"))]

    assert not set(steps) & {*LOCAL, Story.see_trace}
    assert len(with_traces) == len(STEPS) - len(LOCAL)


def test_a_bank_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = Project(
        name="bank",
        version="1",
        root=tmp_path,
        services=(),
        edge="bff",
        commands=(demo.register,),
    )

    assert run(bank, ["demo", "--against", "http://127.0.0.1:1"]) == 3
    assert "the bank does not answer" in capsys.readouterr().err
