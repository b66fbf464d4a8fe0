import subprocess
import sys


def test_a_supervisor_loads_neither_the_application_nor_a_model_nor_a_store():
    program = (
        "import headrace.cli.serve, headrace.cli.supervisor, sys\n"
        "heavy = {'aiohttp', 'fastapi', 'genai_prices', 'hiredis', 'starlette', 'uvicorn', 'uvloop', 'xllamacpp'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
