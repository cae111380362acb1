"""Member catalogues are refused that declare more than they contain, link elsewhere, or are not numbers."""

import base64
import bz2
import gzip
import lzma
import struct

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time

from starjax.catalogs import column_values, member_list

CELLS = "<TABLEDATA><TR><TD>60</TD><TD>10</TD></TR><TR><TD>61</TD><TD>11</TD></TR></TABLEDATA>"


def votable(data=CELLS, fields="", nrows="2", before=""):
    return (
        f'<?xml version="1.0"?>{before}'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f'<TABLE nrows="{nrows}"><FIELD name="ra" datatype="double"/>'
        f'<FIELD name="dec" datatype="double"/>{fields}'
        f"<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"
    )


def test_a_link_to_data_is_not_followed(refused, tmp_path):
    """astropy would read the file, or access the network."""
    (tmp_path / "secret").write_bytes(struct.pack(">4d", 60, 10, 61, 11))
    for address in (f"file://{tmp_path}/secret", "http://127.0.0.1:9/secret"):
        for prefix in ("", "v:"):
            data = f'<BINARY><{prefix}STREAM href="{address}"/></BINARY>'
            content = votable(data).replace("xmlns=", f"xmlns{':v' if prefix else ''}=")
            refused("list.vot", content, "its data elsewhere.*not fetched")


ENTITIES = {
    "external": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "of a parameter": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x">%a;]>',
    "within one another": '<!DOCTYPE x [<!ENTITY b "1111111111"><!ENTITY a "&b;&b;&b;&b;&b;&b;">]>',
}


@pytest.mark.parametrize("kind", ENTITIES)
def test_entities_are_refused(refused, kind):
    cells = CELLS.replace("60", "&a;")
    refused("list.vot", votable(cells, before=ENTITIES[kind]), "entities, which no member catalogue needs")


def test_a_document_type_is_allowed(tmp_path):
    """Older files of the Virtual Observatory have one."""
    path = tmp_path / "list.vot"
    path.write_text(votable(before='<!DOCTYPE VOTABLE SYSTEM "http://us-vo.org/xml/VOTable.dtd">'))
    assert len(member_list.read_member_list(path)) == 2


VOTABLES = {
    "rows": (votable(nrows=10**10), "declares '10000000000' rows"),
    "fewer than no rows": (votable(nrows=-5), "declares '-5' rows"),
    "rows in words": (votable(nrows="many"), "cannot be read"),
    "values a row": (
        votable(fields='<FIELD name="q" arraysize="9999999" datatype="double"/>'),
        "bytes of memory",
    ),
    "columns": (votable(fields='<FIELD name="q" datatype="int"/>' * 5000), "5002 columns"),
    "unit": (
        votable(fields='<FIELD name="q" datatype="int" unit="10**99999999 m"/>'),
        "has a unit '10",
    ),
    "depth": ("<VOTABLE>" + "<RESOURCE>" * 100_000, "nested more than 64 levels"),
    "within": (
        votable(
            '<BINARY><STREAM encoding="gzip">'
            f"{base64.b64encode(gzip.compress(bytes(10**6))).decode()}</STREAM></BINARY>"
        ),
        "its data encoded as 'gzip'",
    ),
}


@pytest.mark.parametrize("name", VOTABLES)
def test_votables_that_declare_too_much_are_refused(refused, name):
    refused("list.vot", *VOTABLES[name])


def ecsv(more="", first="60", kind="float64"):
    columns = f"# - {{name: ra, datatype: {kind}}}\n# - {{name: dec, datatype: float64}}\n"
    return f"# %ECSV 1.0\n# ---\n# datatype:\n{columns}{more}ra dec\n{first} 10\n61 11\n"


MERGED = "".join(f"#   a{i}: &a{i}\n#     <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
ECSVS = {
    "python": (
        ecsv("# meta: !!python/object/apply:os.system [x]\n"),
        "os.system.*which no member catalogue needs",
    ),
    "class": (
        ecsv("# meta: !astropy.coordinates.earth.EarthLocation {x: 1}\n"),
        "which no member catalogue needs",
    ),
    "array": (ecsv("# meta: !numpy.ndarray {shape: [99999999999]}\n"), "which no member catalogue needs"),
    "unit": (
        ecsv("# - {name: q, unit: 10**99999999 m, datatype: float64}\n"),
        "has a unit '10",
    ),
    "unit elsewhere": (
        ecsv("# - {name: q, description: &a 10**99999999 m, unit: *a, datatype: float64}\n"),
        "has a reference instead of a unit",
    ),
    "unit in disguise": (
        ecsv(
            "# - {name: q, description: &a !astropy.units.Unit {unit: m}, datatype: float64}\n"
            "# - {name: r, description: &a 10**99999999 m, unit: *a, datatype: float64}\n"
        ),
        "has a reference instead of a unit",
    ),
    "key elsewhere": (ecsv("# meta: {a: &a unit, *a : 10**99999999 m}\n"), "has a reference instead"),
    "merged": (ecsv("# meta:\n#   a0: &a0 {x: 1}\n" + MERGED), "merges one part"),
    "depth": (ecsv("# meta: " + "[" * 10_000 + "\n"), "lists nested more than"),
    "values a row": (
        ecsv(kind="string, subtype: 'float64[99999999]'", first='"[1]"'),
        "too many values per row",
    ),
    "long line": ("".join([ecsv(), "62 12\n" * 9000, "63 " + "1" * 100_000, "\n"]), "bytes of memory"),
    "no columns": ("# %ECSV 1.0\n# ---\n# datatype: 5\nra dec\n60 10\n", "cannot be read"),
    "damage": (ecsv("# meta: {\n"), "damaged header"),
}


@pytest.mark.parametrize("name", ECSVS)
def test_headers_of_ecsv_create_no_objects(refused, name):
    refused("list.ecsv", *ECSVS[name])


def cards(*given):
    text = "".join(card.ljust(80) for card in given)
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def value(key, what):
    return f"{key:<8}= {what:>20}"


PRIMARY = cards(value("SIMPLE", "T"), value("BITPIX", 8), value("NAXIS", 0), value("EXTEND", "T"), "END")


def fits(forms=("D", "D"), **changed):
    header = {
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": 16,
        "NAXIS2": 2,
        "PCOUNT": 0,
        "GCOUNT": 1,
        "TFIELDS": len(forms),
    }
    header |= changed
    columns = [
        card
        for i, (name, form) in enumerate(zip(("ra", "dec", "more"), forms, strict=False))
        for card in (f"TTYPE{i + 1:<3}= '{name:<8}'", f"TFORM{i + 1:<3}= '{form:<8}'")
    ]
    head = cards("XTENSION= 'BINTABLE'", *(value(*item) for item in header.items()), *columns, "END")
    return PRIMARY + head + struct.pack(">4d", 60, 10, 61, 11).ljust(2880, b"\0")


FITS = {
    "rows": (fits(NAXIS2=10**12), "to follow"),
    "rows of nothing": (fits(("0D", "0D"), NAXIS1=0, NAXIS2=10**10), "to follow"),
    "fewer than no rows": (fits(NAXIS2=-5), "declares NAXIS2=-5"),
    "axes": (fits(NAXIS=999_999_999), "declares 999999999 axes"),
    "columns": (fits(TFIELDS=999_999_999), "declares 999999999 columns"),
    "values a row": (fits(("D", "99999999D")), "cannot be read"),
    "heap": (fits(PCOUNT=10**12), "to follow"),
    "arrays in a heap": (fits(("D", "1PD(9)"), NAXIS2=2), "varying length"),
    "unit": (fits(("D", "D"), TUNIT2="'10**99999999 m'"), "has a unit '10\\*\\*99999999 m'"),
    "unit of an axis": (fits(("D", "D"), TCUNI1="'10**99999999 m'"), "has a unit '10"),
    "bits": (fits(BITPIX="'many'"), "declares BITPIX='many'"),
    "before the table": (
        cards(value("SIMPLE", "T"), value("BITPIX", 8), value("NAXIS", 1), value("NAXIS1", 10**19), "END"),
        "to follow",
    ),
    "text that is none": (fits(("D", "8A")).replace(struct.pack(">d", 10), b"\xe0" * 8), "not in UTF-8"),
}


def test_the_tables_are_valid_before_they_are_changed(tmp_path):
    (tmp_path / "list.fits").write_bytes(fits())
    assert member_list.read_member_list(tmp_path / "list.fits")["dec"].tolist() == [10, 11]
    (tmp_path / "list.vot").write_text(votable())
    (tmp_path / "list.ecsv").write_text(ecsv())
    assert (
        len(member_list.read_member_list(tmp_path / "list.vot"))
        == len(member_list.read_member_list(tmp_path / "list.ecsv"))
        == 2
    )


@pytest.mark.parametrize("name", FITS)
def test_headers_of_fits_that_declare_too_much_are_refused(refused, name):
    refused("list.fits", *FITS[name])


CSVS = {
    "columns": (",".join(f"c{i}" for i in range(50_000)) + "\n", "50000 columns"),
    "columns of one name": ("a," * 3000 + "a\n", "more than one column 'a'"),
    "half of UTF-16": ("ra,dec\n60,10\n".encode("utf-16")[:-1], "is not text in UTF-8"),
    "half of a pair": (b"ra,dec,name\n60,10,\xed\xa0\x81\n", "is not text in UTF-8"),
    "open quotes": ('ra,dec\n60,"10\n' + "61,11\n" * 1000, "line break between quotation marks in row 1"),
    "zero bytes": ("ra,dec\n60,1\0\n", "instead of a decimal number in row 1"),
    "endless digits": ("ra,dec\n60," + "9" * 100_000 + "\n", "column dec (is infinite|holds)"),
    "endless name": (
        "ra,dec,cluster\n60,10,x\n61,11," + "y" * 1000 + "\n",
        "more than 255 characters in row 2",
    ),
    "bytes": (bytes(range(256)), "is not text in UTF-8"),
}


@pytest.mark.parametrize("name", CSVS)
def test_text_that_is_not_a_catalogue_is_refused(refused, name):
    refused("list.csv", *CSVS[name])


@pytest.mark.parametrize("name", ["list.ecsv", "list.csv"])
def test_a_single_line_is_not_opened_as_an_address(refused, tmp_path, name):
    """astropy takes text of one line for a file name or a URL, and opens it."""
    (tmp_path / "secret").write_text(ecsv())
    said = refused(name, f"{tmp_path}/secret", "cannot be read|has no column")
    assert "61" not in said
    refused(name, "http://127.0.0.1:9/secret", "cannot be read|has no column")
    refused(name, "", "cannot be read|is empty")


def test_what_follows_a_table_of_fits_is_checked(refused, tmp_path):
    """astropy would read the headers of everything after it."""
    axes = cards("XTENSION= 'IMAGE   '", value("BITPIX", 8), value("NAXIS", 999_999_999), "END")
    refused("list.fits", fits() + axes, "declares 999999999 axes")
    (tmp_path / "list.fits").write_bytes(fits() + bytes(2880))
    assert member_list.read_member_list(tmp_path / "list.fits")["ra"].tolist() == [60, 61]


@pytest.mark.parametrize(
    "whole", ["ra,dec,pmra\n60,10,1\n61,11,2\n", "ra,dec,pmra\n60,10,1\n61,11,2\n62,12,3\n"]
)
def test_a_truncated_row_is_named(refused, whole):
    """Its last values must not count as missing."""
    num_row = whole.count("\n") - 1
    refused("list.csv", whole[:-3], f"has 2 values in row {num_row}, but 3 column names")
    refused("list.csv", whole.replace("60,10,1", "60,10,1,1"), "has 4 values in row 1")


def test_one_long_text_takes_little_memory(tmp_path):
    """In an array of text, every row would be as long: 80 GB."""
    (tmp_path / "list.csv").write_text("ra,dec,note\n" + "60,10,x\n" * 20_000 + "61,11," + "y" * 10**5 + "\n")
    assert len(member_list.read_member_list(tmp_path / "list.csv")) == 20_001


def test_a_compression_bomb_is_refused(refused):
    content = gzip.compress(b"ra,dec\n" + b"1,2\n" * 10**7, 1)
    refused("list.csv.gz", content, "expand to more than")
    for compress in (bz2.compress, lzma.compress):
        refused("list.csv.gz", compress(b"ra,dec\n" + b"1,2\n" * 10**7), "expand to more than")


def described(unit="deg", end="10", more=""):
    return (
        "Title: list\nByte-by-byte Description of file: list\n" + "-" * 80 + "\n"
        "   Bytes Format Units   Label    Explanations\n" + "-" * 80 + "\n"
        f"   1-  5  F5.1  deg     ra       a\n   6- {end}  F5.1  {unit}  dec      b\n{more}" + "-" * 80 + "\n"
        " 60.0 10.0\n 61.0 11.0\n"
    )


DESCRIBED = {
    "unit": (described(unit="10+99999999m"), "has a unit '10"),
    "no end": (described(end="x"), "cannot be read as CDS|has no column"),
    "columns": (described(more="  1-  5 F5.1 deg c{i} d\n" * 5000), "more than 4096|more than one column"),
    "the same part in many columns": (
        described(more="".join(f" 1-99999 A9 --- c{i} d\n" for i in range(4000))) + " " * 99_990 + "1\n" * 20,
        "bytes of memory",
    ),
    "only lines": ("Byte-by-byte Description of file: list\n", "has no rows"),
    "IPAC, unit": ("|ra|dec|\n|r|r|\n|deg|10**99999999m|\n 1 2\n", "has a unit '10"),
    "IPAC, columns": ("|" + "a|" * 5000 + "\n 1\n", "5000 columns"),
    "IPAC, uneven": ("|ra|dec|\n|r|\n 1 2\n", "cannot be read as IPAC"),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_descriptions_of_columns_that_are_forged_are_refused(refused, name):
    refused("list.mrt", *DESCRIBED[name])


def test_empty_columns_cause_no_warning(tmp_path):
    (tmp_path / "list.csv").write_text("ra,dec,parallax\n,,\n,,\n")
    assert np.isnan(member_list.read_member_list(tmp_path / "list.csv")["ra"]).all()


def test_a_column_of_times_is_refused():
    table = Table({"ra": [60.0, 61.0], "dec": Time(["2026-01-01", "2026-01-02"])})
    with pytest.raises(column_values.CatalogError, match="column dec holds Time instead of numbers or text"):
        member_list.check_member_list(table, "here")


def test_a_catalogue_of_gaia_is_accepted(tmp_path):
    """It has 152 columns, most of them empty, and is compressed as in the archive."""
    names = ["ra", "dec", *(f"c{i}" for i in range(150))]
    row = ",".join(["60.123456789", "10.987654321", *[""] * 150])
    content = gzip.compress((",".join(names) + "\n" + (row + "\n") * 2000).encode())
    (tmp_path / "list.csv.gz").write_bytes(content)
    assert len(member_list.read_member_list(tmp_path / "list.csv.gz")) == 2000
