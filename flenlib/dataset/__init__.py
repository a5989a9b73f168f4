"""Pictures and what is known of them: records, journals, prompts, captions. Never imports torch."""
