"""One row of a feed: its columns, what is allowed in them, and its line of PostgreSQL's COPY text format."""

import re
from collections.abc import Sequence

from appstack_backend.errors import ImportColumnMissing, ImportNumberInvalid, ImportRowInvalid, RowError

COLUMNS = ("sku", "name", "category", "supplier", "price", "currency", "quantity", "warehouse")
REQUIRED = ("sku", "name", "price", "currency", "quantity")
LONGEST = {"sku": 200, "name": 4_096, "category": 200, "supplier": 300, "warehouse": 100}
DEFAULT_WAREHOUSE = "main"
NO_STOCK = "\t\\N\t\\N"  # COPY's nulls: neither quantity nor warehouse
NUMBERS = {
    "price": "digits, at most 12 before and 4 after the point, like 1234.56",
    "quantity": "a whole number from 0 to 999999999999",
}

is_price = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?").fullmatch
is_quantity = re.compile(r"[0-9]{1,12}").fullmatch
is_currency = re.compile(r"[A-Z]{3}").fullmatch

# What COPY's text format wants escaped inside a value.
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_line(line: int, values: Sequence[str]) -> str:
    """The row, in the order of COLUMNS, as one line for COPY, its line number first. Raises RowError.

    Neither quantity nor warehouse: a product of which no stock is told, as exports show those that have none.
    """
    row = [value.strip() for value in values]
    sku, name, category, supplier, price, currency, quantity, warehouse = row
    has_stock = bool(quantity or warehouse)
    if has_stock and not warehouse:
        row[7] = warehouse = DEFAULT_WAREHOUSE
    if not (
        is_price(price)
        and (is_quantity(quantity) or not has_stock)
        and is_currency(currency)
        and 0 < len(sku) <= 200
        and 0 < len(name) <= 4_096
        and len(category) <= 200
        and len(supplier) <= 300
        and len(warehouse) <= 100
    ):
        raise explain(row)
    text = "\t".join(row)
    if "\\" in text or "\n" in text or "\r" in text or "\0" in text or text.count("\t") != 7:
        if "\0" in text:
            raise ImportRowInvalid("a value contains a NUL character")
        text = "\t".join([value.translate(ESCAPES) for value in row])
    return f"{line}\t{text}\n" if has_stock else f"{line}\t{text[:-2]}{NO_STOCK}\n"


def explain(row: Sequence[str]) -> RowError:
    """Why a row is not allowed: the first reason, in the order in which people look."""
    values = dict(zip(COLUMNS, row, strict=True))
    has_stock = bool(values["quantity"] or values["warehouse"])
    missing = [column for column in REQUIRED if not values[column] and (has_stock or column != "quantity")]
    if missing:
        return ImportColumnMissing(f"no value for {', '.join(missing)}")
    if not is_price(values["price"]):
        return ImportNumberInvalid(f"price {shown(values['price'])} is not a price: {NUMBERS['price']}")
    if has_stock and not is_quantity(values["quantity"]):
        return ImportNumberInvalid(f"quantity {shown(values['quantity'])} is not {NUMBERS['quantity']}")
    if not is_currency(values["currency"]):
        return ImportRowInvalid(f"currency {shown(values['currency'])} is not three capital letters")
    for column, limit in LONGEST.items():
        if len(values[column]) > limit:
            return ImportRowInvalid(f"{column} is longer than {limit} characters")
    raise AssertionError("a valid row was refused")


def shown(value: str) -> str:
    """A value as messages quote it: short and printable."""
    return repr(value if len(value) <= 40 else value[:37] + "...")
