"""TOENAILs and FOOTs, read by bash: what runs it, and the reader that the rest of the build calls."""
