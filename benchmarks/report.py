"""stub"""
def as_text(r):
    import json
    return json.dumps(r,indent=1)
def as_document(r): return ""
