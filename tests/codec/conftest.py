import pytest

# A failed comparison of tables tells both sides, as in a test file.
pytest.register_assert_rewrite("codec.samples")
