"""Every provider's export is read as it is written, and what cannot be compared is refused with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.ledger.exports import PACIFIC, SHAPES, ExportRow, plain_model, read_export

OPENAI_USAGE = """start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,input_tokens,output_tokens,input_cached_tokens
1795219200,1795219260,2026-11-21T00:00:00+00:00,2026-11-21T00:01:00+00:00,proj_a,3.0,,key_1,gpt-4o-mini-2024-07-18,False,7162,120,1280
1795219260,1795219320,2026-11-21T00:01:00+00:00,2026-11-21T00:02:00+00:00,proj_a,1.0,,key_2,gpt-5-2025-08-07,False,10,20,0
"""
OPENAI_USAGE_JSON = """{"object":"page","data":[{"object":"bucket","start_time":1795219200,"end_time":1795305600,"results":[
{"object":"organization.usage.completions.result","input_tokens":1000,"output_tokens":500,"input_cached_tokens":800,
 "num_model_requests":5,"project_id":null,"api_key_id":null,"model":"gpt-4o-mini-2024-07-18","batch":false}]}],
"has_more":false,"next_page":null}"""
OPENAI_COST = """start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1795219200,1795305600,2026-11-21T00:00:00+00:00,2026-11-22T00:00:00+00:00,0.000123456789,usd,"gpt-4o-mini-2024-07-18, input",proj_a
1795219200,1795305600,2026-11-21T00:00:00+00:00,2026-11-22T00:00:00+00:00,0.1,usd,"gpt-4o-mini-2024-07-18, output",proj_a
"""
OPENAI_COST_JSON = """{"object":"page","data":[{"object":"bucket","start_time":1795219200,"end_time":1795305600,"results":[
{"object":"organization.costs.result","amount":{"value":0.06,"currency":"usd"},"line_item":"gpt-5, cached input"}]}]}"""
ANTHROPIC_USAGE = """usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed
2026-11-21,claude-haiku-4-5-20251001,MAIN,Default,standard,≤ 200k,100,20,3,"4,000",500,0,,
"""
ANTHROPIC_COST = """usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status
2026-11-21,Claude Haiku 4.5,Default,MAIN,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,,apikey_1,active
2026-11-21,Claude Haiku 4.5,Default,MAIN,message,≤ 200k,output,0.02,0.02,token,not_available,,apikey_1,active
"""
GOOGLE_HEAD = (
    "Billing account name,Billing account ID,Project name,Project ID,Project hierarchy,Service description,Service ID,"
    "SKU description,SKU ID,Consumption model description,Credit type,Cost type,Usage start date,Usage end date,Usage amount,"
    "Usage unit,Unrounded Cost ($),Cost ($)\n"
)
GOOGLE_ROW = (
    'A,0A,p,p,e,Vertex AI,C7,{sku},S,Default,{credit},Usage,2026-11-20,{end},"1,234",count,{usd},{usd}\n'
)
GOOGLE = (
    "Invoice number,123,\nInvoice date,2026-11-30,\nTotal amount due,$5.72,\n\n"
    + GOOGLE_HEAD
    + GOOGLE_ROW.format(
        sku="Gemini 2.5 Flash GA Text Input - Predictions", credit="", end="2026-11-20", usd="1.000005"
    )
    + GOOGLE_ROW.format(
        sku="Gemini 2.5 Flash GA Text Input - Predictions", credit="Promotion", end="2026-11-20", usd="-1"
    )
    + GOOGLE_ROW.format(
        sku="Gemini 2.5 Flash Lite Text Output - Predictions", credit="", end="2026-11-21", usd="2"
    )
    + ",,,,,,,,,,,Rounding error,,,,,-0.003441,-0.00\n"
    + ",,,,,,,,,,,Total,,,,,3.000005,3.00\n"
)
OPENROUTER = """generation_id,created_at,cost_total,cost_web_search,cost_cache,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,provider_name
gen-1,2026-11-21 03:46:57.713,0.0123,0,0,10389,137,0,0,openai/gpt-4o-mini-2024-07-18,OpenAI
"""
OPENROUTER_ACTIVITY = """{"data":[{"date":"2026-11-21","model":"openai/gpt-4o-mini","model_permaslug":"openai/gpt-4o-mini",
"provider_name":"OpenAI","usage":0.015,"byok_usage_inference":0,"requests":5,"prompt_tokens":50,"completion_tokens":125,"reasoning_tokens":25}]}"""
GENERIC = "day,model,input_tokens,output_tokens,cost_usd\n2026-11-21,gpt-4o-mini,10,20,0.5\n2026-11-21,other,,,$1.25\n"
MINI, DAY = "gpt-4o-mini", "2026-11-21"


@pytest.mark.parametrize(
    ("text", "shape", "providers", "rows"),
    [
        (
            OPENAI_USAGE,
            "openai-usage",
            ("openai",),
            [
                ExportRow(DAY, MINI, key="key_1", input_tokens=7162, output_tokens=120),
                ExportRow(DAY, "gpt-5", key="key_2", input_tokens=10, output_tokens=20),
            ],
        ),
        (
            OPENAI_USAGE_JSON,
            "openai-usage",
            ("openai",),
            [ExportRow(DAY, MINI, input_tokens=1000, output_tokens=500)],
        ),
        (
            OPENAI_COST,
            "openai-cost",
            ("openai",),
            [ExportRow(DAY, MINI, cost_nusd=123_457), ExportRow(DAY, MINI, cost_nusd=100_000_000)],
        ),
        (OPENAI_COST_JSON, "openai-cost", ("openai",), [ExportRow(DAY, "gpt-5", cost_nusd=60_000_000)]),
        (
            ANTHROPIC_USAGE,
            "anthropic-usage",
            ("anthropic",),
            [ExportRow(DAY, "claude-haiku-4-5", key="MAIN", input_tokens=4123, output_tokens=500)],
        ),
        (
            ANTHROPIC_COST,
            "anthropic-cost",
            ("anthropic",),
            [
                ExportRow(DAY, "claude-haiku-4-5", key="MAIN", cost_nusd=50_000_000),
                ExportRow(DAY, "claude-haiku-4-5", key="MAIN", cost_nusd=20_000_000),
            ],
        ),
        (
            GOOGLE,
            "google-billing",
            ("gemini", "vertex"),
            [
                ExportRow("2026-11-20", "gemini-2.5-flash", cost_nusd=1_000_005_000),
                ExportRow("2026-11-20", "gemini-2.5-flash-lite", cost_nusd=2_000_000_000),
            ],
        ),
        (
            OPENROUTER,
            "openrouter-generations",
            ("openrouter",),
            [
                ExportRow(
                    DAY,
                    "openai/gpt-4o-mini",
                    input_tokens=10389,
                    output_tokens=137,
                    cost_nusd=12_300_000,
                )
            ],
        ),
        (
            OPENROUTER_ACTIVITY,
            "openrouter-activity",
            ("openrouter",),
            [ExportRow(DAY, "openai/gpt-4o-mini", input_tokens=50, output_tokens=125, cost_nusd=15_000_000)],
        ),
        (
            GENERIC,
            "generic",
            (),
            [
                ExportRow(DAY, MINI, input_tokens=10, output_tokens=20, cost_nusd=500_000_000),
                ExportRow(DAY, "other", cost_nusd=1_250_000_000),
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_an_export_is_read_by_its_header(text, shape, providers, rows):
    """Shape, whose it is, and each row; with a byte order mark and Windows' line ends too."""
    for written in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        found = read_export(written)
        assert (found.shape, found.providers) == (shape, providers)
        assert list(found.rows) == rows
        assert found.timezone == (PACIFIC if shape == "google-billing" else "UTC")
    assert shape in SHAPES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no header"),
        ("a,b\n1,2\n", "no header that is known"),
        ("{not json", "no JSON"),
        ("[1, 2]", "no object"),
        ('{"data": [{"colour": "red"}]}', "no export that is known"),
        ("day,model,cost_usd\n", "no rows"),
        ("day,model,cost_usd\n2026-11-21,m,1\n2026-11-21,m\n", "line 3: 2 cells under 3 columns"),
        ("day,model,cost_usd\nyesterday,m,1\n", "line 2: day: 'yesterday' is no date"),
        ("day,model,cost_usd\n2026-11-21,m,dear\n", "line 2: cost_usd: 'dear' is no number"),
        ("day,model,cost_usd\n2026-11-21,m,-1\n", "cost_usd: '-1'"),
        ("day,model,cost_usd\n2026-11-21,m,NaN\n", "is no number"),
        ("day,model,cost_usd\n2026-11-21,,1\n", "model is empty; export it grouped by model"),
        ("day,model,input_tokens\n2026-11-21,m,1.5\n", "'1.5' is no count"),
        (OPENAI_COST.replace("usd", "eur"), "in 'eur', not in dollars"),
        (OPENAI_USAGE_JSON.replace('"gpt-4o-mini-2024-07-18"', "null"), "grouped by model"),
        (GOOGLE.replace("2026-11-21", "2026-11-30"), "group the report by day"),
        (GOOGLE.replace("Cost ($)", "Cost (€)"), "no header that is known"),
    ],
)
def test_what_cannot_be_compared_is_refused(text, says):
    """With the line and what to do; never a row left out in silence."""
    with pytest.raises(BadRequest) as caught:
        read_export(text, "export.csv")
    assert says in caught.value.message
    assert "export.csv" in caught.value.message
    assert caught.value.hint


@given(st.text(max_size=200) | st.text(max_size=120).map(lambda rest: GENERIC + rest))
def test_any_text_is_read_or_refused(text):
    """No other error, whatever the file."""
    try:
        found = read_export(text)
    except BadRequest:
        return
    assert found.rows or found.shape


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Claude Sonnet 4.5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
    ],
)
def test_a_model_has_one_spelling(name, plain):
    """Whatever the export calls it, and however it was asked for."""
    assert plain_model(name) == plain_model(plain) == plain
