"""`.sql()` on the real broker: rows, columns and dead letters, exactly once."""

import pytest
from tests.wire.airport import Airport


@pytest.mark.kafka
def test_a_statement_selects_from_a_log_and_sets_aside_what_cannot_be_cast(
    airport: Airport,
) -> None:
    """A second run adds nothing; the record that WHERE leaves out is never cast."""
    source = airport.topic("gates")
    airport.contract("gates", "Gate")
    airport.contract("busy", "Gate")
    product = airport.product(
        "busy",
        f"""
        busy = product.stream("{source}", contract=1).sql('''
            SELECT 'gate ' || gate AS gate, CAST(SUBSTR(gate, 2) AS BIGINT) * 100 + number AS number
            FROM events
            WHERE number >= 10
        ''')
        product.publish(busy, contract=1)
        """,  # noqa: S608 no database: a statement over columns
    )
    url = airport.addresses.registry
    gate = airport.serializer(url, airport.schema("Gate"))
    sent = [(f"A{n % 5}", n) for n in range(40)] + [("Ax", 50), ("Ay", 5)]
    airport.send(source, [(gate, {"gate": name, "number": n}) for name, n in sent])
    for _ in range(2):
        airport.run(product)
        assert airport.read(product, url) == [
            {"gate": f"gate A{n % 5}", "number": (n % 5) * 100 + n} for n in range(10, 40)
        ]
        ((code, value),) = airport.letters(product)
        assert (code, value) == ("STEP_FAILED", airport.records(source)[40].value)
