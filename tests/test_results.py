"Tables of scores: reading and writing them, escaping names, drawing many methods"

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from diffclip import InputError
from diffclip.evaluation import (
    FIELDS,
    METHODS,
    Results,
    append_result,
    compare,
    read_results,
)


def row(method="svm", seed=0, oa=50.0, scene="field", strategy="random", shots=2):
    return dict(
        scene=scene,
        strategy=strategy,
        method=method,
        shots=shots,
        seed=seed,
        oa=oa,
        aa=oa,
        kappa=oa,
        n_train=16,
        n_test=900,
        stage1_seed=-1,
        pretrain_seconds=0.0,
        seconds=0.5,
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.csv"
    for seed in range(3):
        append_result(path, row(seed=seed, oa=50.0 + seed / 3))
    return path


def test_rows_come_back_with_their_types(file):
    rows = read_results(file)
    assert list(rows.columns) == list(FIELDS)
    assert rows.oa.tolist() == [50.0, 50.3333, 50.6667]
    assert rows.seed.dtype.kind == rows.n_test.dtype.kind == "i"
    assert rows.seconds.dtype.kind == "f"
    assert rows.equals(read_results(file.parent))  # the folder will do


def test_no_file_is_no_rows(tmp_path):
    rows = read_results(tmp_path)
    assert len(rows) == 0
    assert list(rows.columns) == list(FIELDS)
    assert Results(rows).table() == ""
    assert Results([]).of("method") == []


@pytest.mark.parametrize("cut", [1, 3, 9, 40])
def test_a_line_that_was_cut_off_is_left_out_and_replaced(file, cut):
    file.write_bytes(file.read_bytes()[:-cut])
    assert read_results(file).seed.tolist() == [0, 1]
    append_result(file, row(seed=9))
    assert read_results(file).seed.tolist() == [0, 1, 9]


def test_a_cut_header_is_written_anew(file):
    file.write_bytes(b"scene,strat")
    assert len(read_results(file)) == 0
    append_result(file, row())
    assert len(read_results(file)) == 1


def test_lines_with_too_many_or_too_few_fields_are_left_out(file):
    lines = file.read_text().splitlines()
    lines[1] += ",1,2"
    lines[2] = lines[2][:30]
    file.write_text("\n".join(lines) + "\n")
    assert read_results(file).seed.tolist() == [2]


BAD_FILES = {
    b"scene,oa\nfield,50\n": "the columns are scene, oa, expected scene, strategy",
    b"\xff\xfe\n": "is no table of scores",
    (",".join(FIELDS) + "\n" + ",".join("x" * len(FIELDS)) + "\n").encode(): (
        "holds a score that is no number"
    ),
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_other_files_are_refused(content, file):
    file.write_bytes(content)
    with pytest.raises(InputError, match=BAD_FILES[content]) as e:
        read_results(file)
    assert str(file) in str(e.value)


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        append_result(tmp_path / "no folder" / "results.csv", row())


def test_a_row_that_is_there_twice_counts_once():
    results = Results([row(oa=1.0), row(seed=1, oa=2.0), row(oa=3.0)])
    assert results.scores() == {1: 2.0, 0: 3.0}


def test_cells_are_mean_and_standard_deviation_in_per_cent():
    oa = {"svm": [50.0, 60.0], "rf": [40.0, 80.0]}
    results = Results([row(m, i, v[i]) for m, v in oa.items() for i in range(2)])
    assert results.table().splitlines() == [
        "**field, random split, OA in %; 2 draws, 900 test pixels**",
        "",
        "| method | 2 shots |",
        "|---|---|",
        "| svm | 55.0 ± 5.0 |",
        "| rf | **60.0 ± 20.0** |",
    ]
    with pytest.raises(InputError, match="neither 'markdown' nor 'html'"):
        results.table(style="latex")


@pytest.mark.parametrize("name", ["a|b", "*a*", "<b>a", "_a_", "`a`", "a\nb", "[a](b)"])
def test_names_are_escaped(name):
    results = Results([row(name, scene=name), row("rf", scene=name)])
    text = results.table() + results.effects(base="rf")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert name not in text
    for line in rows:  # two columns, whatever is in the name
        assert line.replace(r"\|", "").count("|") == 3
    page = results.table(style="html")
    assert "<b>a" not in page
    assert page.count("<tr>") == 3


def test_names_of_scenes_and_methods_are_as_they_were():
    for name in (*METHODS, "terramind/433D_629L_3_1", "built-in:101"):
        assert f"**{name}, random split" in Results([row(scene=name)]).table()
        assert f"| {name} |" in Results([row(method=name)]).table()


def lines_of(fig):
    return {
        (line.get_color(), line.get_marker())
        for ax in fig.axes
        for line, *_ in ax.containers
    }


@pytest.mark.parametrize("n", [1, 12, len(METHODS)])
def test_a_plot_tells_methods_apart(n):
    rows = [row(f"m{i}", 0, 50.0 + i, shots=k) for i in range(n) for k in (2, 10)]
    fig = Results(rows).plot()
    assert len(lines_of(fig)) == n
    assert len(fig.legends[0].texts) == n
    plt.close(fig)


def test_the_legend_names_what_only_another_panel_shows():
    fig = Results([row("svm"), row("rf", strategy="disjoint")]).plot()
    assert [t.get_text() for t in fig.legends[0].texts] == ["svm", "rf"]
    plt.close(fig)


def test_a_saved_folder_is_whole_and_no_figure_stays(tmp_path):
    rows = [row("diffclip", i, 60.0 + i) for i in range(3)]
    results = Results([*rows, row("svm")])
    before = plt.get_fignums()
    results.save(tmp_path)
    assert plt.get_fignums() == before
    text = (tmp_path / "comparison.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)[0]["p"] is None  # one draw
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"comparison.json", "plot.png", "table.html", "table.md"}
    with pytest.raises(InputError, match="cannot be written"):
        results.save(tmp_path / "none")


def test_comparisons_are_draw_by_draw():
    assert compare({0: 1.0, 1: 5.0}, {1: 3.0, 2: 9.0})["difference"] == 2
    assert np.isnan(compare({}, {})["difference"])
    assert np.isnan(compare({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0})["p"])
    rows = [row("diffclip", i, 60.0) for i in range(2)]
    rows += [row("svm", i, 50.0 + i) for i in range(2)]
    rows += [row("rf", i, 40.0) for i in range(2)] + [row("rf", shots=10)]
    found = Results(rows).against()
    assert [(c["shots"], c["other"], c["difference"]) for c in found] == [
        (2, "svm", 9.5)
    ]


def test_results_take_a_table_or_dicts():
    rows = [row("svm"), row("rf", 1)]
    assert Results(rows).rows.equals(Results(pd.DataFrame(rows)).rows)
