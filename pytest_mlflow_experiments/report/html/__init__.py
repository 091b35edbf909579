"""The comparison as one page of HTML."""
