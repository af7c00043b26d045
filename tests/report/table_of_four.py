"""The spec of a small made-up table: two tasks, two predecessor sets, two methods."""


def make_spec(**changes):
    from histoseg.report.cells import TableSpec
    from histoseg.report.records import Address

    fields = {
        "title": "A made-up table",
        "rows": {"glas": "Glands", "monuseg": "Nuclei"},
        "columns": {"all_others": "All others", "monuseg": "Nuclei only"},
        "methods": {"maml": "MAML", "transfer": "TransferL"},
        "not_applicable": frozenset({("monuseg", "monuseg")}),
        "paper": {Address("glas", "monuseg", "maml"): 0.563, Address("glas", "monuseg", "transfer"): 0.573},
        "citation": "Somebody (2022), Table 1",
        "paper_note": "Compare with care.",
    }
    return TableSpec(**{**fields, **changes})
